//! Taking messages: what one call of the claiming script takes, and what deliveries it makes.

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
use crate::keys::queue_list::QueueList;
use crate::keys::score::score;
use crate::scripts::script::CLAIM;
use crate::shared::BrokerShared;

/// A list to take from.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRequest {
    pub(crate) queue_list: Arc<QueueList>,
    /// Its place among the consumer's lists.
    pub(crate) list_number: usize,
    /// Where a wait has moved a message of it, if one has.
    pub(crate) handoff: Option<String>,
    /// Whether the list itself is read, too.
    pub(crate) reads_list: bool,
}

/// What was taken.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) id: Arc<str>,
    pub(crate) first: u64,
    /// How many were asked for.
    pub(crate) wanted: usize,
    /// The lists that were read, each with how many came of it.
    pub(crate) counts: Vec<(ClaimRequest, usize)>,
    pub(crate) envelopes: Vec<Bytes>,
    /// Nothing: others have buried this consumer.
    pub(crate) gone: bool,
}

/// Takes at most `wanted` messages.
pub(crate) async fn claim(
    core: Arc<BrokerShared>,
    (first, id): (u64, Arc<str>),
    wanted: usize,
    lists: Vec<ClaimRequest>,
) -> Result<Claimed> {
    const WHAT: &str = "take messages";
    let prefix = Keys::tag_prefix(&id);
    let now = score(core.connection.server_now(), false);
    reached("before-claim");
    let answer = core
        .connection
        .script(WHAT, &CLAIM, |command| {
            command.arg(3).arg(core.keys.unacked()).arg(core.keys.unacked_index()).arg(core.keys.leases());
            command.arg(&now).arg(&*id).arg(&prefix).arg(first).arg(wanted);
            for asked in &lists {
                command.arg(if asked.reads_list { asked.queue_list.key.as_str() } else { "" });
                command.arg(asked.handoff.as_deref().unwrap_or_default()).arg(asked.queue_list.unacked_suffix.as_str());
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
    /// The deliveries, each with what the seat keeps of it.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (u64, InFlight, Delivery)> + '_ {
        let sources = self.counts.iter().flat_map(|(asked, count)| std::iter::repeat_n(&asked.queue_list, *count));
        self.envelopes.iter().zip(sources).enumerate().map(|(place, (raw, source))| {
            let number = self.first + place as u64;
            let (held, delivery) = delivery(number, raw, source);
            (number, held, delivery)
        })
    }
}

fn delivery(number: u64, raw: &Bytes, source: &Arc<QueueList>) -> (InFlight, Delivery) {
    let own_tag = || Arc::from(number.to_string());
    let (tag, exchange, routing_key, redelivered, content) = match Envelope::decode(raw) {
        Ok(Envelope { message, delivery_tag, exchange, routing_key, redelivered, .. }) => (
            delivery_tag.map_or_else(own_tag, Arc::from),
            exchange.unwrap_or_default(),
            routing_key.unwrap_or_else(|| source.queue.clone()),
            redelivered,
            Content::Message(message),
        ),
        Err(error) => {
            let content = Content::Unreadable { raw: raw.clone(), reason: format!("could not {error}") };
            (own_tag(), Arc::default(), source.queue.clone(), false, content)
        }
    };
    let held = InFlight {
        tag,
        queue_list: source.clone(),
        raw: raw.clone(),
        redelivered,
        started: false,
        unanswered: false,
        settling: false,
    };
    let receipt = ConsumerState::receipt(number, &held);
    let mut delivery = Delivery::new(receipt, source.queue.clone(), exchange, routing_key, content);
    delivery.redelivered = redelivered;
    (held, delivery)
}
