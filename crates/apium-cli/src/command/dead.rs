//! `dead list|show|replay|drop`: messages that could not be handled.

use apium_transport::broker::dead_set::{DeadLetter, DeadSet};
use clap::Subcommand;

use crate::command::purge::confirm;
use crate::exit::{CommandError, Result};
use crate::output::{dead_letter, print, progress};
use crate::session::Session;

/// How many letters are read, replayed or dropped at a time.
const BATCH: usize = 500;

/// Options of `dead`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A message that cannot be decoded, names an unknown task, has a content type that is not accepted or keeps \
killing its worker goes to the dead set, with the reason and its bytes. Remove the cause, then replay it."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the dead messages with their reasons
    List {
        /// The most that are listed
        #[arg(short = 'N', long, default_value_t = 100, value_name = "COUNT")]
        limit: usize,
        /// Only keys above this one
        #[arg(long, default_value_t = 0, value_name = "KEY")]
        after: u64,
    },
    /// Show one dead message, its headers and its bytes
    Show {
        /// Its key
        key: u64,
    },
    /// Send dead messages back to the queues that they came from; their tasks start anew
    Replay(Chosen),
    /// Delete dead messages
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Do not ask for confirmation
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// The keys
    #[arg(value_name = "KEY")]
    keys: Vec<u64>,
    /// Every dead message
    #[arg(long)]
    all: bool,
}

/// Lists, shows, replays or drops.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let dead = session.app.broker().dead().ok_or_else(|| {
        CommandError::usage(format!("look at the dead set: the broker {} has none", session.app.broker().address()))
    })?;
    match args.action {
        Action::List { limit, after } => list(session, dead, after, limit).await,
        Action::Show { key } => show(session, dead, key).await,
        Action::Replay(chosen) => {
            let keys = keys_of(session, dead, &chosen).await?;
            replay_or_drop(session, dead, keys, BulkAction::Replay).await
        }
        Action::Drop { chosen, force } => {
            if chosen.all && !force {
                confirm(&format!(
                    "Drop all {} dead messages at {}?",
                    session.ask_broker(|| dead.count()).await?,
                    session.app.broker().address()
                ))?;
            }
            let keys = keys_of(session, dead, &chosen).await?;
            replay_or_drop(session, dead, keys, BulkAction::Drop).await
        }
    }
}

async fn list(session: &Session, dead: &dyn DeadSet, after: u64, limit: usize) -> Result<()> {
    let letters = session.ask_broker(|| dead.list(after, limit)).await?;
    if session.json {
        let list: Vec<_> = letters.iter().map(dead_letter::summary).collect();
        return print::json(&list.into());
    }
    let rows: Vec<Vec<String>> = letters.iter().map(row).collect();
    print::table(&["key", "at", "queue", "task", "id", "reason"], &[0], &rows)?;
    let count = session.ask_broker(|| dead.count()).await?;
    if count > letters.len() as u64 {
        print::line(&format!("{} of {count} shown; --limit and --after show others", letters.len()))?;
    }
    Ok(())
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        letter.key.to_string(),
        format!("{:.0}", letter.at),
        letter.queue.clone(),
        or_dash(&letter.task),
        or_dash(&letter.task_id),
        format!("{}: {}", letter.code, letter.reason),
    ]
}

async fn show(session: &Session, dead: &dyn DeadSet, key: u64) -> Result<()> {
    let found = session.ask_broker(|| dead.get(key)).await?.ok_or_else(|| no_letter(key))?;
    if session.json {
        print::json(&dead_letter::whole(&found))
    } else {
        dead_letter::describe(&found).iter().try_for_each(|line| print::line(line))
    }
}

fn no_letter(key: u64) -> CommandError {
    CommandError::not_found(format!("find dead message {key}")).hint("`dead list` shows the keys")
}

/// What is done with many dead messages.
#[derive(Clone, Copy)]
enum BulkAction {
    Replay,
    Drop,
}

async fn replay_or_drop(session: &Session, dead: &dyn DeadSet, keys: Vec<u64>, action: BulkAction) -> Result<()> {
    let bar = progress::bar(keys.len(), "messages");
    let mut done = 0;
    for batch in keys.chunks(BATCH) {
        done += match action {
            BulkAction::Replay => session.app.replay_dead(batch).await?,
            BulkAction::Drop => session.ask_broker(|| dead.remove(batch.to_vec())).await?,
        };
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let word = match action {
        BulkAction::Replay => "replayed",
        BulkAction::Drop => "dropped",
    };
    if session.json { print::json(&serde_json::json!({ word: done })) } else { print::line(&format!("{done} {word}")) }
}

/// The keys that were named, each of which must be there, or all.
async fn keys_of(session: &Session, dead: &dyn DeadSet, chosen: &Chosen) -> Result<Vec<u64>> {
    if !chosen.all {
        for &key in &chosen.keys {
            session.ask_broker(|| dead.get(key)).await?.ok_or_else(|| no_letter(key))?;
        }
        return Ok(chosen.keys.clone());
    }
    let mut keys: Vec<u64> = Vec::new();
    loop {
        let after = keys.last().copied().unwrap_or(0);
        let batch = session.ask_broker(|| dead.list(after, BATCH)).await?;
        if batch.is_empty() {
            return Ok(keys);
        }
        keys.extend(batch.iter().map(|letter| letter.key));
    }
}
