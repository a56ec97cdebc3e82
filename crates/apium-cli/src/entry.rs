//! From `main` to a subcommand: options, logging, runtime, app, exit code.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::config::settings::Settings;
use apium_worker::child::serve;
use apium_worker::pool::process::child_program::ChildProgram;
use clap::{CommandFactory, FromArgMatches, Subcommand};

use crate::args::{Cli, Command, Global};
use crate::command;
use crate::exit::{Code, CommandError, Result};
use crate::own_commands::{OwnCommands, Run};
use crate::session::Session;
use crate::{logging, python, remote, settings_sources};

/// Runs the command line of a program with tasks: reads the process's arguments, builds the app with `app` and runs the
/// subcommand. Returns the exit code (`--help` lists them).
///
/// `app` gets the settings of the file, the environment and the options. Give them to the builder
/// ([`AppBuilder::config`](apium_app::builder::AppBuilder::config)): they win over what its other methods set.
///
/// Starts its own tokio runtime, so call it from a plain `main`, not inside a runtime.
pub fn main<F, Fut, E>(app: F) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    start(std::env::args_os(), app, Program { has_tasks: true, own: None })
}

/// The same with commands of the program's own beside the built-in ones: the variants of `C`, an enum with
/// `#[derive(clap::Subcommand)]`. `--help` lists them behind the built-in commands.
///
/// `run` gets the [`Session`] (the app, and whether stdout is to be JSON) and the command with its arguments. It runs
/// on a tokio runtime with several threads. The global options, the settings and the logs are those of a built-in
/// command. When it ends, the app is closed.
///
/// `run` returns `()` or an [`ExitCode`]. An error is printed as one line on stderr. An error of Apium has the exit
/// code that it has in a built-in command, any other error has 70.
///
/// A command with the name of a built-in one, and an argument with the name of a global option, are refused with exit
/// code 70 before anything runs, also when another command is asked for. A later version of Apium may have more
/// built-in commands.
pub fn main_with_commands<C: Subcommand + 'static, F, Fut, E, R, RunFut, T, RunE>(app: F, run: R) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
    R: FnOnce(Session, C) -> RunFut + 'static,
    RunFut: Future<Output = Result<T, RunE>> + 'static,
    T: Termination,
    RunE: Into<Box<dyn StdError + Send + Sync>>,
{
    start(std::env::args_os(), app, Program { has_tasks: true, own: Some(OwnCommands::new(run)) })
}

/// The same for a program without tasks: `worker` and `registered` are hidden, and refused with an error that says why.
pub fn main_without_tasks<F, Fut, E>(app: F) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    start(std::env::args_os(), app, Program { has_tasks: false, own: None })
}

/// What the program adds to the command line, or lacks.
struct Program {
    has_tasks: bool,
    own: Option<OwnCommands>,
}

/// The command that was asked for.
enum Chosen {
    BuiltIn(Box<Command>),
    Own(Run),
}

/// Why no command was chosen.
enum Refusal {
    /// What clap prints: the help, the version, or what is wrong with the arguments.
    Printed(clap::Error),
    Error(CommandError),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Printed(error)
    }
}

fn start<F, Fut, E>(words: impl IntoIterator<Item = OsString>, app: F, program: Program) -> ExitCode
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let ended = match parse(words, program) {
        Ok((global, chosen)) => execute(&global, chosen, app),
        Err(Refusal::Error(stop)) => Err(stop),
        Err(Refusal::Printed(error)) => {
            let code = if error.use_stderr() { Code::Usage } else { Code::Ok };
            // Where neither stdout nor stderr takes the text, the exit code is all that is left to say.
            let _ = error.print();
            return exit(code);
        }
    };
    ended.unwrap_or_else(|stop| {
        // As above.
        let _ = writeln!(std::io::stderr().lock(), "{stop}");
        exit(stop.code)
    })
}

fn exit(code: Code) -> ExitCode {
    ExitCode::from(code as u8)
}

fn parse(words: impl IntoIterator<Item = OsString>, program: Program) -> Result<(Global, Chosen), Refusal> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut line = Cli::command();
    if let Some(name) = words.first().and_then(|word| Path::new(word).file_name()) {
        line = line.display_name(name.to_string_lossy().into_owned());
    }
    if !program.has_tasks {
        line = line.mut_subcommand("registered", |sub| sub.hide(true));
    }
    if let Some(own) = &program.own {
        line = own.add_to(line).map_err(Refusal::Error)?;
    }
    let matches = line.try_get_matches_from_mut(words)?;
    let is_own = |own: &OwnCommands| matches.subcommand_name().is_some_and(|name| own.has(name));
    if let Some(own) = program.own.filter(is_own) {
        return Ok((Global::from_arg_matches(&matches)?, Chosen::Own(own.read(&matches)?)));
    }
    let Cli { global, command } = Cli::from_arg_matches(&matches)?;
    if !program.has_tasks && command.needs_tasks() {
        let stop = CommandError::usage("run tasks: this program has none")
            .hint("put `apium::cli::main(app)` into the program that has them, and run its `worker`; or name a Celery app with -A");
        return Err(Refusal::Error(stop));
    }
    Ok((global, Chosen::BuiltIn(Box::new(command))))
}

fn execute<F, Fut, E>(global: &Global, chosen: Chosen, app: F) -> Result<ExitCode>
where
    F: FnOnce(Settings) -> Fut,
    Fut: Future<Output = Result<App, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let built_in = match &chosen {
        Chosen::BuiltIn(command) => Some(&**command),
        Chosen::Own(_) => None,
    };
    if let Some(Command::Settings(args)) = built_in {
        return command::settings::run(args).map(|()| exit(Code::Ok));
    }
    let is_worker = matches!(built_in, Some(Command::Worker(_)));
    // A command that waits for a server says so once, in its error.
    logging::start(global, if is_worker { "info" } else { "warn,apium_app::publish::policy=error" })?;
    let mut settings = settings_sources::read(global)?;
    if let Some(Command::Worker(args)) = built_in {
        args.settings(&mut settings)?;
    }
    if let Some(Command::Worker(args)) = built_in
        && args.pool_child
    {
        // It has been started by a worker, and serves its runs.
        serve::run(|| app(settings));
    }
    let runtime = runtime(is_worker || built_in.is_none())?;
    let ended = runtime.block_on(async {
        let python = match &chosen {
            Chosen::BuiltIn(command) => match &**command {
                Command::Worker(args) => python::children::children(args, global, &mut settings).await?,
                _ => None,
            },
            Chosen::Own(_) => None,
        };
        let app = app(settings).await.map_err(|error| CommandError::from_build(error.into()))?;
        let session = Session { app, json: global.json };
        let ended = match chosen {
            Chosen::BuiltIn(command) => dispatch(&session, *command, python).await,
            Chosen::Own(run) => run(session.clone()).await,
        };
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, session.app.close()).await;
        let code = ended?;
        // What could not be closed in time is closed by the end of the process.
        closed.unwrap_or(Ok(()))?;
        Ok(code)
    });
    if is_worker {
        // A thread of the runtime may be in a call that cannot be cancelled, such as the look-up of a host name.
        runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    }
    ended
}

/// How long closing the app may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the threads of a worker's runtime may take to end.
const RUNTIME_TIMEOUT: Duration = Duration::from_millis(500);

/// A worker and a command of the program get tokio's usual threads, any other command the calling thread alone.
fn runtime(has_threads: bool) -> Result<tokio::runtime::Runtime> {
    let mut builder = if has_threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|error| CommandError::new(Code::Other, format!("start the runtime: {error}")))
}

async fn dispatch(session: &Session, command: Command, python: Option<ChildProgram>) -> Result<ExitCode> {
    match command {
        Command::Worker(args) => return command::worker::run(session, args, python).await,
        Command::Call(args) => command::call::run(session, args).await,
        Command::Result(args) => command::result::run(session, args).await,
        Command::Purge(args) => command::purge::run(session, args).await,
        Command::Queues(args) => command::queues::run(session, args).await,
        Command::Dead(args) => command::dead::run(session, args).await,
        Command::Registered(args) => command::registered::run(session, &args),
        Command::Inspect(args) => remote::inspect::run(session, args).await,
        Command::Control(args) => remote::control::run(session, args).await,
        Command::Status(args) => remote::status::run(session, args).await,
        Command::Events(args) => remote::events::run(session, args).await,
        Command::Top(args) => command::top::run(session, args).await,
        Command::List(args) => command::list::run(session, &args),
        Command::Report(args) => command::report::run(session, &args).await,
        Command::Settings(args) => command::settings::run(&args),
    }?;
    Ok(exit(Code::Ok))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Subcommand;

    use super::*;

    #[derive(Debug, Subcommand)]
    enum Shop {
        /// Import users from a file
        ImportUsers {
            /// The file
            #[arg(long)]
            file: PathBuf,
        },
        /// Look after the stock
        #[command(subcommand, visible_alias = "st")]
        Stock(Stock),
    }

    #[derive(Debug, Subcommand)]
    enum Stock {
        /// Count it
        Count,
    }

    fn with<C: Subcommand + 'static>() -> Program {
        async fn nothing<C>(_: Session, _: C) -> apium_app::error::Result<()> {
            Ok(())
        }
        Program { has_tasks: true, own: Some(OwnCommands::new(nothing::<C>)) }
    }

    fn parsed(program: Program, words: &[&str]) -> Result<(Global, Chosen), Refusal> {
        parse(std::iter::once("shop").chain(words.iter().copied()).map(OsString::from), program)
    }

    /// What clap prints.
    fn printed(program: Program, words: &[&str]) -> String {
        match parsed(program, words) {
            Err(Refusal::Printed(error)) => error.to_string(),
            Err(Refusal::Error(stop)) => panic!("{stop}"),
            Ok(_) => panic!("{words:?} is a command"),
        }
    }

    #[test]
    fn one_help_lists_the_commands_of_the_program_and_the_built_in_ones() {
        let help = printed(with::<Shop>(), &["--help"]);
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text} is not in {help}"));
        assert!(at("Run a worker until it is stopped") < at("import-users  Import users from a file"), "{help}");
        assert!(at("Look after the stock") < at("Global options:"), "{help}");
        let own = printed(with::<Shop>(), &["import-users", "--help"]);
        assert!(own.contains("--file <FILE>") && own.contains("--result-backend <URL>"), "{own}");
    }

    #[test]
    fn a_command_of_the_program_is_chosen_by_its_name_or_alias_and_has_the_global_options() {
        for words in [&["import-users", "--file", "x", "--json"][..], &["--json", "st", "count"]] {
            let Ok((global, Chosen::Own(_))) = parsed(with::<Shop>(), words) else { panic!("{words:?}") };
            assert!(global.json);
        }
        let Ok((_, Chosen::BuiltIn(command))) = parsed(with::<Shop>(), &["queues"]) else { panic!("no command") };
        assert!(matches!(*command, Command::Queues(_)), "{command:?}");
        assert!(printed(with::<Shop>(), &["import-users"]).contains("--file <FILE>"));
        assert!(printed(with::<Shop>(), &["import"]).contains("import-users"), "the nearest is named");
    }

    #[test]
    fn a_name_that_the_command_line_has_is_refused_whatever_is_asked_for() {
        #[derive(Debug, Subcommand)]
        enum Named {
            Purge,
        }
        #[derive(Debug, Subcommand)]
        enum Aliased {
            #[command(alias = "help")]
            Explain,
        }
        #[derive(Debug, Subcommand)]
        enum Long {
            Import {
                #[arg(long = "config")]
                options: Option<String>,
            },
        }
        #[derive(Debug, Subcommand)]
        enum Short {
            Import(Base),
        }
        #[derive(Debug, clap::Args)]
        struct Base {
            #[arg(short = 'b')]
            base: bool,
        }
        #[derive(Debug, Subcommand)]
        enum Inner {
            #[command(subcommand)]
            Import(Long),
        }
        for (program, wanted) in [
            (with::<Named>(), "could not add the command purge: the command line has one of that name"),
            (with::<Aliased>(), "could not add the command help: the command line has one of that name"),
            (with::<Long>(), "could not add the command import: its argument options is the global option --config"),
            (with::<Short>(), "its argument base is the global option --broker"),
            (with::<Inner>(), "its argument options is the global option --config"),
        ] {
            let Err(Refusal::Error(stop)) = parsed(program, &["queues"]) else { panic!("{wanted}") };
            assert_eq!(stop.code, Code::Other);
            assert!(stop.to_string().contains(wanted) && stop.to_string().contains("\nhint: "), "{stop}");
        }
    }
}
