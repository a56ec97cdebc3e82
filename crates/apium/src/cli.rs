//! The command line: one line in a program's `main`.
//!
//! ```no_run
//! use apium::prelude::*;
//!
//! async fn app(settings: Settings) -> Result<App, BoxError> {
//!     Ok(App::builder("proj").config(settings).build().await?)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     apium::cli::main(app)
//! }
//! ```
//!
//! | command | what it does |
//! |---|---|
//! | `worker` | runs tasks until it is stopped |
//! | `call NAME` | sends a task by name, and may wait for it |
//! | `result ID` | shows the state and result of a task, or follows it |
//! | `purge` | deletes the waiting messages of queues |
//! | `queues` | lists the queues with their counts |
//! | `dead list`, `show`, `replay`, `drop` | looks after messages that could not be handled |
//! | `registered` | lists the tasks of this program |
//! | `report` | versions, addresses and settings, without secrets |
//!
//! Broker and result backend come from `-b` and `--result-backend`, from `APIUM_BROKER_URL` and `APIUM_RESULT_BACKEND`,
//! or from `apium.toml`; other settings likewise, by Celery's names. With `--json` stdout is JSON: of results, Celery's
//! result document. Exit codes stand in `--help`.

pub use apium_cli::{main, main_without_tasks};
