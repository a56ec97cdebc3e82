//! Notices another live worker of the same node name: a warning in both logs, never a refusal. The name of a worker that was
//! killed can be taken at once.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;

/// Looks when the worker starts and then once in `pause`, which is rare enough to keep an idle worker quiet (P16).
pub(crate) async fn warn_of_duplicates(broker: SharedBroker, node: Arc<str>, clock: Clock, pause: Duration) {
    let mut warned = false;
    loop {
        if let Some(consumers) = broker.queues().and_then(|queues| queues.consumers())
            && let Ok(living) = consumers.consumers_named(&node).await
        {
            if living > 1 && !warned {
                tracing::warn!(
                    node = &*node,
                    living,
                    "another live worker is named {node} too: give each a name of its own with -n, or listings mix them up"
                );
            }
            warned = living > 1;
        }
        clock.sleep(pause).await;
    }
}
