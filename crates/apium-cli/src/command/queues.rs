//! `queues`: lists the queues with their counts, and those that are paused.

use std::collections::BTreeMap;

use apium_app::control::pause::PausedQueue;
use apium_transport::broker::queue_admin::{QueueAdmin, QueueStats};
use serde_json::{Value, json};

use crate::exit::Result;
use crate::output::print;
use crate::session::Session;

/// Options of `queues`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Columns: ready can be delivered now; unacked is with a worker; delayed waits for its eta or countdown; \
consumers is the number of workers that consume the queue; paused says who paused the queue and why, and stands there \
only if a queue is paused (`control resume_queue` ends it)."
)]
pub(crate) struct Args {}

/// The paused queues by name.
type Paused = BTreeMap<String, PausedQueue>;

/// Lists.
pub(crate) async fn run(session: &Session, Args {}: Args) -> Result<()> {
    let admin = session.queue_admin()?;
    let Some(counts) = admin.counts() else { return depths(session, admin).await };
    let mut stats = session.ask_broker(|| counts.stats()).await?;
    let paused = paused(session).await?;
    for queue in paused.keys() {
        if !stats.iter().any(|listed| listed.queue == *queue) {
            stats.push(QueueStats::new(queue.clone()));
        }
    }
    if session.json {
        let list: Vec<_> = stats
            .iter()
            .map(|queue| {
                let counts = json!({
                    "queue": queue.queue, "ready": queue.ready, "unacked": queue.unacked,
                    "delayed": queue.delayed, "consumers": queue.consumers,
                });
                with_pause(counts, &queue.queue, &paused)
            })
            .collect();
        return print::json(&list.into());
    }
    let rows = stats.iter().map(|queue| {
        let counts = [queue.ready, queue.unacked, queue.delayed, queue.consumers];
        std::iter::once(queue.queue.clone()).chain(counts.iter().map(u64::to_string)).collect()
    });
    table(&["queue", "ready", "unacked", "delayed", "consumers"], rows.collect(), &paused)
}

async fn paused(session: &Session) -> Result<Paused> {
    let paused = session.app.control().paused_queues().await?;
    Ok(paused.into_iter().map(|paused| (paused.queue.clone(), paused)).collect())
}

/// Lists the queues of the settings with what can be delivered: all that a broker without lists of queues can say.
async fn depths(session: &Session, admin: &dyn QueueAdmin) -> Result<()> {
    let mut depths = Vec::new();
    for queue in session.configured_queues() {
        depths.push((session.ask_broker(|| admin.depth(&queue)).await?, queue));
    }
    let paused = paused(session).await?;
    if session.json {
        let list =
            depths.iter().map(|(depth, queue)| with_pause(json!({ "queue": queue, "ready": depth }), queue, &paused));
        return print::json(&list.collect::<Vec<_>>().into());
    }
    let rows = depths.into_iter().map(|(depth, queue)| vec![queue, depth.to_string()]).collect();
    table(&["queue", "ready"], rows, &paused)
}

/// Adds who paused the queue, why and since when.
fn with_pause(mut counts: Value, queue: &str, paused: &Paused) -> Value {
    if let Some(paused) = paused.get(queue) {
        counts["paused"] = json!({ "by": paused.by, "reason": paused.reason, "since": paused.since.to_string() });
    }
    counts
}

fn table(headings: &[&str], mut rows: Vec<Vec<String>>, paused: &Paused) -> Result<()> {
    let mut headings = headings.to_vec();
    let right: Vec<usize> = (1..headings.len()).collect();
    if !paused.is_empty() {
        headings.push("paused");
        for row in &mut rows {
            let cell = paused.get(&row[0]).map(in_words).unwrap_or_default();
            row.push(cell);
        }
    }
    print::table(&headings, &right, &rows)
}

/// `by gen7@host since 2026-12-01T08:00:00Z: the mail server is down`.
fn in_words(paused: &PausedQueue) -> String {
    let why = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
    format!("by {} since {:.0}{why}", paused.by, paused.since)
}
