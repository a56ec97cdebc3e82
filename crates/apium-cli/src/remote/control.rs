//! `control`: tells workers to do something.

use std::collections::BTreeMap;

use apium_app::control::revoke::Revoke;
use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;

use crate::exit::{CommandError, Result};
use crate::output::print;
use crate::remote::ask::{Asked, Words, ask, conclude, print_chat};
use crate::remote::catalog::CommandKind;
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
    words: Words,
}

/// Tells them.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let Some(Asked { name, words, command: given }) = args.words.read(CommandKind::Control, &session.app)? else {
        return Ok(());
    };
    let options = &args.words.options;
    let control = options.control(&session.app);
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
        return tell_revoke(session, options, name, revoke).await;
    }
    let command = match given.name.as_str() {
        "pause_queue" => control.pause_queue(&words[0], &given.others.join(" ")),
        "unrevoke" | "unrevoke_by_stamped_headers" if given.others.is_empty() => {
            return Err(CommandError::usage(format!("control {name}: no task is named")));
        }
        "unrevoke" => control.unrevoke(given.others.clone()),
        "unrevoke_by_stamped_headers" => control.unrevoke_by_stamps(stamps(&given.others)?),
        "resume_queue" => control.resume_queue(&words[0]),
        "shutdown" => {
            control.shutdown().send().await?;
            return print::line("told; no worker replies to it, and `status` shows those that still run");
        }
        _ => return ask(session, options, name, control.broadcast(given.name, given.arguments), false).await,
    };
    ask(session, options, name, command, false).await
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
    let of = |(header, mut values): (&str, Vec<Value>)| {
        // A single value is sent as it is, as Celery sends it.
        let value = if values.len() == 1 { values.remove(0) } else { Value::List(values) };
        (header.to_owned(), Json::from_value(&value))
    };
    Ok(stamps.into_iter().map(of).collect())
}
