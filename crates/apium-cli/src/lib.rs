//! The command line of Apium, over an [`App`](apium_app::app::app::App): a program gets it by one line in its `main`.
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     apium::cli::main(app)
//! }
//! ```
//!
//! Results and lists go to stdout, logs and errors to stderr. An expected error is one line, a hint and an exit code.
//! Names no driver: brokers and result backends come with the app.

mod args;
mod command;
mod entry;
mod exit;
mod json_arg;
mod logging;
mod output;
mod own_commands;
mod panics;
mod python;
mod remote;
mod session;
mod settings_sources;
mod text_arg;
mod time_arg;
mod top;
mod wait_result;

pub use clap;
pub use entry::{main, main_with_commands, main_without_tasks};
pub use session::Session;
