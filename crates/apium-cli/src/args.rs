//! The command line: global options and one subcommand. Each subcommand's options stand in its own file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::command;
use crate::exit;
use crate::remote;

/// Options before the subcommand, and the subcommand.
#[derive(Debug, Parser)]
#[command(
    version = concat!("(Apium ", env!("CARGO_PKG_VERSION"), ")"),
    about = "Send and run tasks, beside Celery or alone",
    long_about = "Send tasks, run them, read their results and manage queues. Messages and results are Celery's.\n\n\
                  Settings have Celery's lower-case names. The file apium.toml wins over what the program sets, the \
                  environment (APIUM_ and the name in upper case) wins over the file, and options win over both.",
    after_help = exit::HELP,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every subcommand takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Where the broker is: sqlite:///var/lib/app/queue.db, memory://, … [env: APIUM_BROKER_URL]
    #[arg(short, long, global = true, value_name = "URL", help_heading = "Global options")]
    pub(crate) broker: Option<String>,
    /// Where results are stored [env: APIUM_RESULT_BACKEND]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub(crate) result_backend: Option<String>,
    /// The settings file [env: APIUM_CONFIG] [default: apium.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// A setting by its name, or app.NAME for the program's own; may be given several times
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", help_heading = "Global options")]
    pub(crate) settings: Vec<String>,
    /// What is logged to stderr: error, warning, info, debug, trace, off, or a filter such as apium_worker=debug,info
    /// [default: info for a worker, warning otherwise]
    #[arg(short, long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    pub(crate) loglevel: Option<String>,
    /// How a line of the log is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Global options")]
    pub(crate) log_format: LogFormat,
    /// Print JSON on stdout
    #[arg(short = 'j', long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a worker until it is stopped
    Worker(command::worker::Args),
    /// Send a task by name, whether it is registered here or not
    Call(command::call::Args),
    /// Show the state and result of a task
    Result(command::result::Args),
    /// Delete the waiting messages of queues
    Purge(command::purge::Args),
    /// List the queues with their counts
    Queues(command::queues::Args),
    /// List, show, replay or delete messages that could not be handled
    Dead(command::dead::Args),
    /// List the tasks of this program
    Registered(command::registered::Args),
    /// Ask workers that run: what they run, have and know
    Inspect(remote::inspect::Args),
    /// Tell workers that run to do something: revoke, rate limits, queues, pools, …
    Control(remote::control::Args),
    /// Show which workers are online
    Status(remote::status::Args),
    /// Print events of workers and tasks as they come
    Events(remote::events::Args),
    /// Watch workers, tasks and queues in the terminal, and act on them
    Top(command::top::Args),
    /// List the bindings of queues
    List(command::list::Args),
    /// Show versions, addresses and settings, without secrets
    Report(command::report::Args),
    /// Print the reference of the settings as Markdown
    #[command(hide = true)]
    Settings(command::settings::Args),
}

impl Command {
    /// Whether it needs the code of tasks, which the stand-alone binary does not have.
    pub(crate) fn needs_tasks(&self) -> bool {
        match self {
            Self::Worker(args) => args.app.is_none(),
            Self::Registered(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_subcommand() {
        for line in [["x", "-b", "memory://", "queues"], ["x", "queues", "-b", "memory://"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.broker.as_deref(), Some("memory://"));
        }
    }
}
