//! `purge`: deletes the waiting messages of queues.

use std::io::{self, BufRead, IsTerminal, Write};

use apium_protocol::value::printable::printable;

use crate::exit::{Code, CommandError, Result};
use crate::output::{print, progress};
use crate::session::Session;
use crate::text_arg;

/// Options of `purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  purge                    asks first
  purge --force -Q mail,celery

Waiting messages are deleted, also those with a countdown. Messages in flight at a worker are not. This cannot be undone.")]
pub(crate) struct Args {
    /// Only these queues, with commas between [default: every queue of the settings]
    #[arg(short = 'Q', long, value_name = "QUEUES", value_delimiter = ',', value_parser = text_arg::queue)]
    queues: Vec<String>,
    /// Not these queues
    #[arg(short = 'X', long, value_name = "QUEUES", value_delimiter = ',', value_parser = text_arg::queue)]
    exclude_queues: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Purges.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let named = if args.queues.is_empty() { session.configured_queues() } else { args.queues };
    let queues: Vec<String> = named.into_iter().filter(|queue| !args.exclude_queues.contains(queue)).collect();
    if !args.force {
        confirm(&format!(
            "Delete every waiting message of {} at {}?",
            queues.join(", "),
            session.app.broker().address()
        ))?;
    }
    let admin = session.queue_admin()?;
    let bar = progress::bar(queues.len(), "queues");
    let mut purged = Vec::new();
    for queue in &queues {
        purged.push((queue.clone(), session.ask_broker(|| admin.purge(queue)).await?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let total: u64 = purged.iter().map(|(_, count)| count).sum();
    if session.json {
        let queues: serde_json::Map<_, _> = purged.into_iter().map(|(queue, count)| (queue, count.into())).collect();
        return print::json(&serde_json::json!({ "purged": total, "queues": queues }));
    }
    for (queue, count) in purged {
        print::line(&format!("{queue}: {count} deleted"))?;
    }
    print::line(&format!("{total} deleted"))
}

/// Asks on the terminal; without one, `--force` is needed.
pub(crate) fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::usage("ask for confirmation: stdin is not a terminal")
            .hint("add --force to go on without asking"));
    }
    let mut err = io::stderr().lock();
    let failed = |error: io::Error| CommandError::new(Code::Other, format!("ask for confirmation: {error}"));
    write!(err, "{} [y/N] ", printable(question)).and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::usage("go on: the answer was no")),
    }
}
