//! Commands of the program beside the built-in ones: their names, how they are read, and how they run.

use std::error::Error as StdError;
use std::future::Future;
use std::process::{ExitCode, Termination};

use clap::{ArgMatches, Command, Subcommand};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use crate::exit::{Code, CommandError, Result};
use crate::session::Session;

/// A command of the program with its arguments, ready to run.
pub(crate) type Run = Box<dyn FnOnce(Session) -> LocalBoxFuture<'static, Result<ExitCode>>>;

/// Reads the arguments of the command that was asked for.
type Read = Box<dyn FnOnce(&ArgMatches) -> Result<Run, clap::Error>>;

/// The commands of a program.
pub(crate) struct OwnCommands {
    commands: Vec<Command>,
    read: Read,
}

impl OwnCommands {
    /// The variants of `C`, which `run` runs.
    pub(crate) fn new<C, R, Fut, T, E>(run: R) -> Self
    where
        C: Subcommand + 'static,
        R: FnOnce(Session, C) -> Fut + 'static,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Termination,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // The attributes of the enum are for a command line of its own, so only its subcommands are taken.
        let commands = C::augment_subcommands(Command::new("own")).get_subcommands().cloned().collect();
        let read = |matches: &ArgMatches| {
            let command = C::from_arg_matches(matches)?;
            let name = matches.subcommand_name().unwrap_or_default().to_owned();
            let start = move |session: Session| {
                let ended = run(session, command);
                let report = async move {
                    let done = ended.await.map_err(|error| CommandError::from_command(&name, error.into()))?;
                    Ok(done.report())
                };
                report.boxed_local()
            };
            Ok(Box::new(start) as Run)
        };
        Self { commands, read: Box::new(read) }
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command.get_name() == name)
    }

    /// The command line with these commands behind the built-in ones.
    ///
    /// # Errors
    /// A name or an option that the command line has already.
    pub(crate) fn add_to(&self, line: Command) -> Result<Command> {
        let mut line = line;
        for command in &self.commands {
            let built_in: Vec<&str> = line.get_subcommands().flat_map(Command::get_name_and_visible_aliases).collect();
            let taken =
                names(command).find(|name| *name == "help" || line.get_subcommands().any(|sub| has_name(sub, name)));
            if let Some(taken) = taken {
                let text = format!("add the command {taken}: the command line has one of that name");
                let hint = format!("give it a name that is none of {}, help", built_in.join(", "));
                return Err(CommandError::new(Code::Other, text).hint(hint));
            }
            check_options(&line, command)?;
            // Without this, each would stand among the built-in ones that have its number.
            let behind = line.get_subcommands().count();
            line = line.subcommand(command.clone().display_order(behind));
        }
        Ok(line)
    }

    /// Reads the arguments of one of the commands.
    pub(crate) fn read(self, matches: &ArgMatches) -> Result<Run, clap::Error> {
        (self.read)(matches)
    }
}

fn names(command: &Command) -> impl Iterator<Item = &str> {
    std::iter::once(command.get_name()).chain(command.get_all_aliases())
}

fn has_name(command: &Command, name: &str) -> bool {
    names(command).any(|own| own == name)
}

/// Refuses an option that a global option has already. clap would take the one for the other, or panic.
fn check_options(line: &Command, command: &Command) -> Result<()> {
    let globals = || line.get_arguments().filter(|argument| argument.is_global_set());
    for argument in command.get_arguments() {
        let same = globals().find(|global| {
            global.get_id() == argument.get_id()
                || global.get_long().is_some_and(|long| Some(long) == argument.get_long())
                || global.get_short().is_some_and(|short| Some(short) == argument.get_short())
        });
        if let Some(same) = same {
            let (name, option) = (command.get_name(), same.get_long().unwrap_or_default());
            let text =
                format!("add the command {name}: its argument {} is the global option --{option}", argument.get_id());
            let hint = "give the argument another name and letter; `--help` lists the global options";
            return Err(CommandError::new(Code::Other, text).hint(hint));
        }
    }
    command.get_subcommands().try_for_each(|inner| check_options(line, inner))
}
