//! `queues`: lists the queues with their counts.

use apium_transport::broker::queue_admin::QueueAdmin;

use crate::exit::Result;
use crate::output::print;
use crate::session::Session;

/// Options of `queues`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Columns: ready can be delivered now; unacked is with a worker; delayed waits for its eta or countdown; \
consumers is the number of workers that consume the queue."
)]
pub(crate) struct Args {}

/// Lists.
pub(crate) async fn run(session: &Session, Args {}: Args) -> Result<()> {
    let admin = session.queue_admin()?;
    let Some(counts) = admin.counts() else { return depths(session, admin).await };
    let stats = session.ask_broker(|| counts.stats()).await?;
    if session.json {
        let list: Vec<_> = stats
            .iter()
            .map(|queue| {
                serde_json::json!({
                    "queue": queue.queue, "ready": queue.ready, "unacked": queue.unacked,
                    "delayed": queue.delayed, "consumers": queue.consumers,
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
    print::table(&["queue", "ready", "unacked", "delayed", "consumers"], &[1, 2, 3, 4], &rows)
}

/// Lists the queues of the settings with what can be delivered: all that a broker without lists of queues can say.
async fn depths(session: &Session, admin: &dyn QueueAdmin) -> Result<()> {
    let mut depths = Vec::new();
    for queue in session.configured_queues() {
        depths.push((session.ask_broker(|| admin.depth(&queue)).await?, queue));
    }
    if session.json {
        let list = depths.iter().map(|(depth, queue)| serde_json::json!({"queue": queue, "ready": depth}));
        return print::json(&list.collect::<Vec<_>>().into());
    }
    let rows: Vec<Vec<String>> = depths.into_iter().map(|(depth, queue)| vec![queue, depth.to_string()]).collect();
    print::table(&["queue", "ready"], &[1], &rows)
}
