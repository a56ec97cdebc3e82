//! What `inspect` and `control` share: the words on their command line, and how workers are asked and their replies
//! printed.

use apium_app::app::app::App;
use apium_app::control::command::RemoteCommand;
use apium_app::control::replies::Replies;
use apium_protocol::json::text::Json;
use apium_worker::control::call::own_control_commands;

use crate::exit::{CommandError, Result};
use crate::output::print;
use crate::remote::catalog::{self, CommandKind, GivenCommand};
use crate::remote::options::RemoteOptions;
use crate::remote::reply_text;
use crate::session::Session;

/// Whom the command is for, and its words.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    #[command(flatten)]
    pub(crate) options: RemoteOptions,
    /// List the commands
    #[arg(long)]
    list: bool,
    /// The command, and its arguments
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// The command that was asked for.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// As it was written.
    pub(crate) name: &'a str,
    pub(crate) words: &'a [String],
    pub(crate) command: GivenCommand,
}

impl Words {
    /// Reads the command. `None` where the list of commands was asked for, which is printed.
    pub(crate) fn read(&self, kind: CommandKind, app: &App) -> Result<Option<Asked<'_>>> {
        let own = own_control_commands(app);
        if self.list {
            catalog::list(kind, &own).iter().try_for_each(|line| print::line(line))?;
            return Ok(None);
        }
        let Some((name, words)) = self.words.split_first() else { return Err(no_command(kind)) };
        Ok(Some(Asked { name, words, command: catalog::read(kind, name, words, &own)? }))
    }
}

/// What is said where the command is missing.
fn no_command(kind: CommandKind) -> CommandError {
    let name = kind.name();
    CommandError::usage(format!("{name}: no command is named")).hint(format!("`{name} --list` lists the commands"))
}

/// Sends a command, and prints each reply when it comes.
pub(crate) async fn ask<T>(
    session: &Session,
    options: &RemoteOptions,
    name: &str,
    mut command: RemoteCommand<T>,
    as_map: bool,
) -> Result<()> {
    if !session.json {
        command = command.on_reply(|reply| print_chat(&reply.node, &reply.raw));
    }
    conclude(session, options, name, &command.replies().await?, as_map)
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
        print::line(&reply_text::json(raw, as_map))?;
    } else if as_map {
        print::line("").and_then(|()| print::line(&reply_text::online(replies.len())))?;
    }
    // As in Celery, an answer that is an error is an answer.
    Ok(())
}
