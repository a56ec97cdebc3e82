//! A worker with the tasks that the tests with Celery call, from Python and from Rust. The tasks have the names and the
//! behaviour of those in `tests/interop/tasks.py`.
//!
//! ```text
//! interop worker -c 4 -Q celery
//! interop call tasks.add --args '[2, 2]' --wait
//! ```

mod errors;
mod tasks;
mod values;

use std::process::ExitCode;

use apium::prelude::*;

fn main() -> ExitCode {
    apium::cli::main(app)
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    Ok(App::builder("peer").config(settings).build().await?)
}
