//! The tasks that wait at the broker for their eta, in the queues of this worker.

use apium_app::context::request::{DeliveryInfo, Request};
use apium_protocol::codecs::invocation::Invocation;
use apium_protocol::message::body::Body;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use jiff::Timestamp;

use crate::control::commands::task_info::RunInfo;
use crate::control::controlled::Controlled;
use crate::pool::guard::guarded;

/// So many are read of each queue: a million may wait, and each has its arguments.
const MOST: usize = 100;

/// The tasks of the worker's queues that wait at the broker, each with its eta; of each queue those that are due first.
/// None where the broker does not show them.
///
/// # Errors
/// When the broker cannot be asked.
pub(crate) async fn delayed_tasks(controlled: &Controlled) -> Result<Vec<(Timestamp, RunInfo)>> {
    let broker = controlled.records.broker();
    let Some(messages) = broker.queues().and_then(|queues| queues.messages()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for queue in controlled.queues.names() {
        for delayed in messages.peek_delayed(&queue, MOST).await? {
            if let Some(eta) = delayed.eta {
                found.push((eta, info(controlled, &queue, delayed)));
            }
        }
    }
    Ok(found)
}

/// A message as inspections show it; without arguments where this worker cannot decode them.
fn info(controlled: &Controlled, queue: &str, delayed: Outgoing) -> RunInfo {
    let Outgoing { exchange, routing_key, message, .. } = delayed;
    let mut from = DeliveryInfo::default();
    from.exchange = exchange;
    from.routing_key = routing_key;
    from.priority = message.properties.priority;
    from.queue = queue.into();
    let intake = &controlled.process.intake;
    // A serializer of the app's own may panic.
    let (headers, body) = match guarded(|| intake.codecs.decode(&message, &intake.accept)) {
        Ok(Ok(Invocation { headers, body, .. })) => (headers, body),
        _ => (message.headers, Body::default()),
    };
    let request = Request::from_message(headers, message.properties, body, from).on_host(controlled.node.clone());
    let task = request.task().unwrap_or_default().into();
    RunInfo::of(&request, &task)
}
