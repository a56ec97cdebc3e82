//! `queues`: lists the queues with their counts.

use crate::exit::Result;
use crate::output::print;
use crate::session::Session;

/// Options of `queues`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Columns: ready can be delivered now; unacked is with a worker; parked waits for its eta or countdown; \
consumers is the number of workers that consume the queue."
)]
pub(crate) struct Args {}

/// Lists.
pub(crate) async fn run(session: &Session, Args {}: Args) -> Result<()> {
    let stats = session.queue_admin()?.stats().await?;
    if session.json {
        let list: Vec<_> = stats
            .iter()
            .map(|queue| {
                serde_json::json!({
                    "queue": queue.queue, "ready": queue.ready, "unacked": queue.unacked,
                    "parked": queue.delayed, "consumers": queue.consumers,
                })
            })
            .collect();
        return print::json(&list.into());
    }
    let rows: Vec<Vec<String>> = stats
        .iter()
        .map(|queue| {
            let counts = [queue.ready, queue.unacked, queue.delayed, queue.consumers];
            std::iter::once(queue.queue.clone()).chain(counts.iter().map(u64::to_string)).collect()
        })
        .collect();
    print::table(&["queue", "ready", "unacked", "parked", "consumers"], &[1, 2, 3, 4], &rows)
}
