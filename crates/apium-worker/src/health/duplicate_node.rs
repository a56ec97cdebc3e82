//! Warns when another live worker has the same node name. It never refuses to start, so that the name of a killed
//! worker can be used again at once.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;

/// Looks for workers of this name at the start and then once each `interval`. It logs a warning when there is a second
/// one, and again only after there was none. The interval is the worker's lease, which is rare enough for an idle
/// worker (the guarantee `idle-quiet`).
pub(crate) async fn warn_of_duplicates(broker: SharedBroker, node: Arc<str>, clock: Clock, interval: Duration) {
    let mut warned = false;
    loop {
        if let Some(consumers) = broker.queues().and_then(|queues| queues.consumers())
            && let Ok(count) = consumers.consumers_named(&node).await
        {
            if count > 1 && !warned {
                tracing::warn!(
                    node = &*node,
                    count,
                    "another worker is named {node} too: it is alive, or was killed within the last {} s (worker_lease); \
                     give each a name of its own with -n, or listings mix them up",
                    interval.as_secs_f64()
                );
            }
            warned = count > 1;
        }
        clock.sleep(interval).await;
    }
}
