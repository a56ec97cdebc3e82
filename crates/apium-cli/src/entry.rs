//! From `main` to a subcommand: options, logging, runtime, app, exit code.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use apium_app::app::app::App;
use apium_app::config::settings::Settings;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::command;
use crate::exit::{Code, CommandError, Result};
use crate::session::Session;
use crate::{logging, settings_sources};

/// Runs the command line of a program with tasks: reads the process's arguments, builds the app with `app` and runs the
/// subcommand. Returns the exit code (`--help` lists them).
///
/// `app` gets the settings of the file, the environment and the options; give them to the builder, whose own calls they
/// beat.
///
/// Starts its own tokio runtime, so call it from a plain `main`, not inside a runtime.
pub fn main<F, Fut, E>(app: F) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    run(std::env::args_os(), app, true)
}

/// The same for a program without tasks: `worker` and `registered` are hidden, and refused with a word why.
pub fn main_without_tasks<F, Fut, E>(app: F) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    run(std::env::args_os(), app, false)
}

fn run<F, Fut, E>(words: impl IntoIterator<Item = OsString>, app: F, has_tasks: bool) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let cli = match parse(words, has_tasks) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Code::Usage } else { Code::Ok };
            // Where neither stdout nor stderr takes the text, the exit code is all that is left to say.
            let _ = error.print();
            return exit(code);
        }
    };
    match execute(cli, app, has_tasks) {
        Ok(code) => code,
        Err(stop) => {
            // As above.
            let _ = writeln!(std::io::stderr().lock(), "{stop}");
            exit(stop.code)
        }
    }
}

fn exit(code: Code) -> ExitCode {
    ExitCode::from(code as u8)
}

fn parse(words: impl IntoIterator<Item = OsString>, has_tasks: bool) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if !has_tasks {
        command =
            command.mut_subcommand("worker", |sub| sub.hide(true)).mut_subcommand("registered", |sub| sub.hide(true));
    }
    Cli::from_arg_matches(&command.try_get_matches_from_mut(words)?)
}

fn execute<F, Fut, E>(cli: Cli, app: F, has_tasks: bool) -> Result<ExitCode>
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    if !has_tasks && cli.command.needs_tasks() {
        return Err(CommandError::usage("run tasks: this program has none")
            .hint("put `apium::cli::main(app)` into the program that has them, and run its `worker`"));
    }
    if let Command::Settings(args) = &cli.command {
        return command::settings::run(args).map(|()| exit(Code::Ok));
    }
    let is_worker = matches!(cli.command, Command::Worker(_));
    logging::start(&cli.global, if is_worker { "info" } else { "warn" })?;
    let mut settings = settings_sources::read(&cli.global)?;
    if let Command::Worker(args) = &cli.command {
        args.settings(&mut settings)?;
    }
    let runtime = runtime(is_worker)?;
    runtime.block_on(async {
        let app = app(settings).await.map_err(|error| CommandError::from_build(error.into()))?;
        let session = Session { app, json: cli.global.json };
        let ended = dispatch(&session, cli.command).await;
        let closed = session.app.close().await;
        let code = ended?;
        closed?;
        Ok(code)
    })
}

/// A worker gets tokio's usual threads, any other command the calling thread alone.
fn runtime(is_worker: bool) -> Result<tokio::runtime::Runtime> {
    let mut builder = if is_worker {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|error| CommandError::new(Code::Other, format!("start the runtime: {error}")))
}

async fn dispatch(session: &Session, command: Command) -> Result<ExitCode> {
    match command {
        Command::Worker(args) => return command::worker::run(session, args).await,
        Command::Call(args) => command::call::run(session, args).await,
        Command::Result(args) => command::result::run(session, args).await,
        Command::Purge(args) => command::purge::run(session, args).await,
        Command::Queues(args) => command::queues::run(session, args).await,
        Command::Dead(args) => command::dead::run(session, args).await,
        Command::Registered(args) => command::registered::run(session, &args),
        Command::Report(args) => command::report::run(session, &args).await,
        Command::Settings(args) => command::settings::run(&args),
    }?;
    Ok(exit(Code::Ok))
}
