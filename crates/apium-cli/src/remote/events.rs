//! `events`: prints events of workers and tasks as they come.

use crate::command::top;
use crate::exit::{Code, CommandError, Result};
use crate::output::print;
use crate::remote::event_text::EventText;
use crate::session::Session;

/// Options of `events`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --dump and without --json it is the live view, as `top`. Events of tasks come only from \
workers with -E, and from those that were told to send them: `control enable_events`."
)]
pub(crate) struct Args {
    /// Print each event on a line, until ^C; with --json as JSON
    #[arg(long)]
    dump: bool,
    /// Only events with such a routing key: worker.#, task.failed
    #[arg(short, long, value_name = "PATTERN", default_value = "#")]
    routing_key: String,
    /// End after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Prints events until ^C, the limit, or until nobody reads them.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    if !args.dump && !session.json {
        return top::run(session, top::Args::default()).await;
    }
    let mut events = session.app.events().routing_key(args.routing_key).listen().await?;
    let mut text = EventText::default();
    if !session.json {
        print::line("-> evdump: starting capture...")?;
    }
    let mut printed = 0;
    while args.limit.is_none_or(|limit| printed < limit) {
        let received = tokio::select! {
            received = events.next() => received?,
            stopped = tokio::signal::ctrl_c() => {
                return stopped
                    .map_err(|error| CommandError::new(Code::Other, format!("wait for ^C: {error}")));
            }
        };
        if events.missed() {
            tracing::warn!("events were missed: too many came at once, or the broker was away");
        }
        let line = match session.json {
            true => {
                let mut line = Vec::new();
                received.event.to_text().write(&mut line);
                String::from_utf8_lossy(&line).into_owned()
            }
            false => text.line(&received),
        };
        if !print::line_is_read(&line)? {
            return Ok(());
        }
        printed += 1;
    }
    Ok(())
}
