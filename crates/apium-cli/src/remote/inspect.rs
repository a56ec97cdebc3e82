//! `inspect`: asks workers.

use apium_app::control::replies::Replies;
use apium_protocol::json::text::Json;

use crate::exit::{CommandError, Result};
use crate::output::print;
use crate::remote::catalog::{self, CommandKind};
use crate::remote::options::RemoteOptions;
use crate::remote::reply_text;
use crate::session::Session;

/// Options of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inspect active
  inspect stats -d w1@host --json
  inspect query_task 8f1c… 2b7d…
  inspect registered rate_limit max_retries

Each reply is printed when it comes. Nobody replied: exit code 69.")]
pub(crate) struct Args {
    #[command(flatten)]
    options: RemoteOptions,
    /// List the commands
    #[arg(long)]
    list: bool,
    /// The command, and its arguments
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// Asks.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    if args.list {
        return catalog::list(CommandKind::Inspect).iter().try_for_each(|line| print::line(line));
    }
    let Some((name, words)) = args.words.split_first() else { return Err(no_command(CommandKind::Inspect)) };
    let given = catalog::read(CommandKind::Inspect, name, words)?;
    let mut command = args.options.inspect(&session.app).request(&given.name, given.arguments);
    if !session.json {
        command = command.on_reply(|reply| print_chat(&reply.node, &reply.raw));
    }
    let replies = command.replies().await?;
    conclude(session, &args.options, name, &replies, true)
}

/// What is said where the command is missing.
pub(crate) fn no_command(kind: CommandKind) -> CommandError {
    let name = kind.name();
    CommandError::usage(format!("{name}: no command is named")).hint(format!("`{name} --list` lists the commands"))
}

/// Prints a reply. Who stops reading gets no more of them, and the command still waits for its end.
pub(crate) fn print_chat(node: &str, raw: &Json) {
    for line in reply_text::chat(node, raw, true) {
        if print::line(&line).is_err() {
            return;
        }
    }
}

/// What is printed after the last reply: all of them as JSON, or their count where it is asked for.
pub(crate) fn conclude<T>(
    session: &Session,
    options: &RemoteOptions,
    command: &str,
    replies: &Replies<T>,
    as_map: bool,
) -> Result<()> {
    if replies.is_empty() {
        return Err(options.no_reply(command));
    }
    if session.json {
        let raw = replies.iter().map(|reply| (reply.node.as_str(), &reply.raw));
        return print::line(&reply_text::json(raw, as_map));
    }
    match as_map {
        true => print::line("").and_then(|()| print::line(&reply_text::online(replies.len()))),
        false => Ok(()),
    }
}
