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
//! | `dead list`, `show`, `replay`, `drop` | lists, shows, replays or deletes messages that could not be handled |
//! | `inspect`, `control`, `status` | asks workers, tells them to do something, shows which are online |
//! | `events`, `top` | prints events as they come; watches workers, tasks and queues in the terminal |
//! | `list bindings` | lists the bindings of queues, where the broker can say them |
//! | `registered` | lists the tasks of this program |
//! | `report` | versions, addresses and settings, without secrets |
//!
//! Broker and result backend come from `-b` and `--result-backend`, from `APIUM_BROKER_URL` and `APIUM_RESULT_BACKEND`,
//! or from `apium.toml`, and so do the other settings, by Celery's names. With `--json` stdout is JSON; for a result it
//! is Celery's result document. `--help` lists the exit codes.
//!
//! # Commands of the program's own
//!
//! [`main_with_commands`] adds the variants of an enum with `#[derive(clap::Subcommand)]`, so that the program has one
//! `--help` and one set of settings for everything:
//!
//! ```no_run
//! use std::path::PathBuf;
//!
//! use apium::cli::clap::{self, Subcommand};
//! use apium::prelude::*;
//!
//! #[derive(Subcommand)]
//! enum Command {
//!     /// Import users from a file
//!     ImportUsers {
//!         #[arg(long)]
//!         file: PathBuf,
//!     },
//! }
//!
//! # #[task]
//! # async fn greet(name: String) -> TaskResult<()> { Ok(()) }
//! async fn run(session: apium::cli::Session, command: Command) -> Result<(), BoxError> {
//!     match command {
//!         Command::ImportUsers { file } => {
//!             for name in std::fs::read_to_string(file)?.lines() {
//!                 greet::delay(name.to_owned()).send(&session.app).await?;
//!             }
//!             Ok(())
//!         }
//!     }
//! }
//!
//! # async fn app(settings: Settings) -> Result<App, BoxError> {
//! #     Ok(App::builder("proj").config(settings).build().await?)
//! # }
//! fn main() -> std::process::ExitCode {
//!     apium::cli::main_with_commands(app, run)    // proj import-users --file x | worker | call | …
//! }
//! ```
//!
//! [`clap`] is the version of clap that Apium uses. A program that depends on clap itself needs the same major version.

pub use apium_cli::{Session, clap, main, main_with_commands, main_without_tasks};
