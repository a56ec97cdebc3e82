//! Claiming messages: one call of the claim script, and the deliveries that it makes.

use std::sync::Arc;

use apium_protocol::message::envelope::Envelope;
use apium_transport::broker::consumer::{Content, Delivery};
use apium_transport::error::Result;
use bytes::Bytes;
use redis::Value;

use crate::consumer::state::{ConsumerState, InFlight};
use crate::crash_points::reached;
use crate::errors::unexpected_reply;
use crate::keys::broker_keys::Keys;
use crate::keys::broker_keys::QueueList;
use crate::keys::score::score;
use crate::scripts::script::CLAIM;
use crate::shared::BrokerShared;

/// A list to claim from.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRequest {
    pub(crate) queue_list: Arc<QueueList>,
    /// Its number among the consumer's lists.
    pub(crate) list_number: usize,
    /// The handoff list, if a wait has moved a message there.
    pub(crate) handoff: Option<String>,
    /// Whether the list itself is read too.
    pub(crate) reads_list: bool,
}

/// What was claimed.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The id of the consumer that claimed.
    pub(crate) id: Arc<str>,
    /// The number of the first message; the others follow it.
    pub(crate) first: u64,
    /// How many were asked for.
    pub(crate) wanted: usize,
    /// The lists that were read, and how many messages came from each.
    pub(crate) counts: Vec<(ClaimRequest, usize)>,
    pub(crate) envelopes: Vec<Bytes>,
    /// Nothing was claimed, since this consumer was taken for dead.
    pub(crate) gone: bool,
}

/// Claims at most `wanted` messages, under the numbers from `first` on.
pub(crate) async fn claim(
    shared: Arc<BrokerShared>,
    (first, id): (u64, Arc<str>),
    wanted: usize,
    lists: Vec<ClaimRequest>,
) -> Result<Claimed> {
    const WHAT: &str = "claim messages";
    let prefix = Keys::tag_prefix(&id);
    let now = score(shared.connection.server_now(), false);
    reached("before-claim");
    let answer = shared
        .connection
        .script(WHAT, &CLAIM, |command| {
            command.arg(3).arg(shared.keys.unacked()).arg(shared.keys.unacked_index()).arg(shared.keys.leases());
            command.arg(&now).arg(&*id).arg(&prefix).arg(first).arg(wanted);
            for request in &lists {
                command.arg(if request.reads_list { request.queue_list.key.as_str() } else { "" });
                command
                    .arg(request.handoff.as_deref().unwrap_or_default())
                    .arg(request.queue_list.unacked_suffix.as_str());
            }
        })
        .await?;
    reached("after-claim");
    let Value::Array(parts) = answer else { return Err(unexpected_reply(WHAT)) };
    let mut parts = parts.into_iter();
    let counts: String =
        parts.next().and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| unexpected_reply(WHAT))?;
    let gone = counts == "gone";
    let counts = counts.split(' ').map(|count| count.parse().unwrap_or(0));
    let envelopes = parts.filter_map(|part| match part {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    });
    let counts = if gone { Vec::new() } else { lists.into_iter().zip(counts).collect() };
    Ok(Claimed { counts, envelopes: envelopes.collect(), id, first, wanted, gone })
}

impl Claimed {
    /// The deliveries, each with its number and with what the consumer keeps of it while it is in flight.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (u64, InFlight, Delivery)> + '_ {
        let queue_lists =
            self.counts.iter().flat_map(|(request, count)| std::iter::repeat_n(&request.queue_list, *count));
        self.envelopes.iter().zip(queue_lists).enumerate().map(|(index, (raw, queue_list))| {
            let number = self.first + index as u64;
            let (in_flight, delivery) = delivery(number, raw, queue_list);
            (number, in_flight, delivery)
        })
    }
}

fn delivery(number: u64, raw: &Bytes, queue_list: &Arc<QueueList>) -> (InFlight, Delivery) {
    let own_tag = || Arc::from(number.to_string());
    let (tag, exchange, routing_key, redelivered, content) = match Envelope::decode(raw) {
        Ok(Envelope { message, delivery_tag, exchange, routing_key, redelivered, .. }) => (
            delivery_tag.map_or_else(own_tag, Arc::from),
            exchange.unwrap_or_default(),
            routing_key.unwrap_or_else(|| queue_list.queue.clone()),
            redelivered,
            Content::Message(message),
        ),
        Err(error) => {
            let content = Content::Unreadable { raw: raw.clone(), reason: format!("could not {error:#}") };
            (own_tag(), Arc::default(), queue_list.queue.clone(), false, content)
        }
    };
    let in_flight = InFlight {
        tag,
        queue_list: queue_list.clone(),
        raw: raw.clone(),
        redelivered,
        started: false,
        unanswered: false,
        settling: false,
    };
    let receipt = ConsumerState::receipt(number, &in_flight);
    let mut delivery = Delivery::new(receipt, queue_list.queue.clone(), exchange, routing_key, content);
    delivery.redelivered = redelivered;
    (in_flight, delivery)
}
