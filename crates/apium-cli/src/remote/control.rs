//! `control`: tells workers to do something.

use std::collections::BTreeMap;

use apium_app::control::revoke::Revoke;
use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;

use crate::exit::{CommandError, Result};
use crate::output::print;
use crate::remote::catalog::{self, CommandKind, GivenCommand};
use crate::remote::inspect::{conclude, no_command, print_chat};
use crate::remote::options::RemoteOptions;
use crate::session::Session;

/// Options of `control`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  control revoke 8f1c… 2b7d…
  control terminate KILL 8f1c…
  control rate_limit tasks.add 100/m
  control pause_queue mail the mail server is down
  control reload_prices force=true        (a command of the program's own, arguments as NAME=VALUE)

A revoke and a pause hold for workers that start later too, unless nodes are named. Each reply is printed when it comes. \
Nobody replied: exit code 69; a revoke and a pause are kept all the same. `shutdown` is never replied to.")]
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

/// Tells them.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    if args.list {
        return catalog::list(CommandKind::Control).iter().try_for_each(|line| print::line(line));
    }
    let Some((name, words)) = args.words.split_first() else { return Err(no_command(CommandKind::Control)) };
    let given = catalog::read(CommandKind::Control, name, words)?;
    let control = args.options.control(&session.app);
    let revoke = match given.name.as_str() {
        "revoke" => Some(control.revoke_all(given.others.clone())),
        "terminate" => Some(control.terminate(given.others.clone()).signal(&words[0])),
        "revoke_by_stamped_headers" => Some(control.revoke_by_stamps(stamps(&given.others)?)),
        _ => None,
    };
    if let Some(revoke) = revoke {
        if given.others.is_empty() {
            return Err(CommandError::usage(format!("control {name}: no task is named")));
        }
        return tell_revoke(session, &args.options, name, revoke).await;
    }
    match given.name.as_str() {
        "pause_queue" | "resume_queue" => {
            let mut command = match name.as_str() {
                "pause_queue" => control.pause_queue(&words[0], &given.others.join(" ")),
                _ => control.resume_queue(&words[0]),
            };
            if !session.json {
                command = command.on_reply(|reply| print_chat(&reply.node, &reply.raw));
            }
            let replies = command.replies().await?;
            conclude(session, &args.options, name, &replies, false)
        }
        "shutdown" => {
            control.shutdown().send().await?;
            Ok(())
        }
        _ => tell(session, &args.options, given).await,
    }
}

async fn tell(session: &Session, options: &RemoteOptions, given: GivenCommand) -> Result<()> {
    let name = given.name.clone();
    let mut command = options.control(&session.app).broadcast(given.name, given.arguments);
    if !session.json {
        command = command.on_reply(|reply| print_chat(&reply.node, &reply.raw));
    }
    let replies = command.replies().await?;
    conclude(session, options, &name, &replies, false)
}

async fn tell_revoke(session: &Session, options: &RemoteOptions, name: &str, revoke: Revoke) -> Result<()> {
    let revoke = match session.json {
        true => revoke,
        false => revoke.on_reply(|reply| print_chat(&reply.node, &reply.raw)),
    };
    let replies = revoke.replies().await?;
    conclude(session, options, name, &replies, false)
}

/// Reads `header=value` words; a header that comes twice has both values.
fn stamps(words: &[String]) -> Result<Vec<(String, Json)>> {
    let mut stamps: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for word in words {
        let Some((header, value)) = word.split_once('=').filter(|(header, _)| !header.is_empty()) else {
            return Err(CommandError::usage(format!("read the stamp \"{word}\": it is no header=value")));
        };
        stamps.entry(header).or_default().push(Value::Str(value.to_owned()));
    }
    Ok(stamps.into_iter().map(|(header, values)| (header.to_owned(), Json::from_value(&Value::List(values)))).collect())
}
