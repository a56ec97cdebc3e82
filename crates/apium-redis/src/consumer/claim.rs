//! Taking messages: what one call of the claiming script takes, and what deliveries it makes.

use std::sync::Arc;

use apium_protocol::message::envelope::Envelope;
use apium_transport::broker::consumer::{Content, Delivery};
use apium_transport::error::Result;
use bytes::Bytes;
use redis::Value;

use crate::consumer::state::{Held, Seat};
use crate::crash_points::reached;
use crate::errors::odd_answer;
use crate::keys::broker_keys::Keys;
use crate::keys::queue_list::Source;
use crate::keys::score::score;
use crate::scripts::script::CLAIM;
use crate::shared::Core;

/// A list to take from.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) source: Arc<Source>,
    /// Its place among the consumer's lists.
    pub(crate) place: usize,
    /// Where a wait has moved a message of it, if one has.
    pub(crate) taken: Option<String>,
    /// Whether the list itself is read, too.
    pub(crate) list: bool,
}

/// What was taken.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) id: Arc<str>,
    pub(crate) first: u64,
    /// How many were asked for.
    pub(crate) wanted: usize,
    /// The lists that were read, each with how many came of it.
    pub(crate) counts: Vec<(Asked, usize)>,
    pub(crate) envelopes: Vec<Bytes>,
    /// Nothing: others have buried this consumer.
    pub(crate) gone: bool,
}

/// Takes at most `wanted` messages.
pub(crate) async fn claim(
    core: Arc<Core>,
    (first, id): (u64, Arc<str>),
    wanted: usize,
    lists: Vec<Asked>,
) -> Result<Claimed> {
    const WHAT: &str = "take messages";
    let prefix = Keys::tag_prefix(&id);
    let now = score(core.link.server_now(), false);
    reached("before-claim");
    let answer = core
        .link
        .script(WHAT, &CLAIM, |command| {
            command.arg(3).arg(core.keys.unacked()).arg(core.keys.index()).arg(core.keys.alive());
            command.arg(&now).arg(&*id).arg(&prefix).arg(first).arg(wanted);
            for asked in &lists {
                command.arg(if asked.list { asked.source.list.as_str() } else { "" });
                command.arg(asked.taken.as_deref().unwrap_or_default()).arg(asked.source.suffix.as_str());
            }
        })
        .await?;
    reached("after-claim");
    let Value::Array(parts) = answer else { return Err(odd_answer(WHAT)) };
    let mut parts = parts.into_iter();
    let counts: String =
        parts.next().and_then(|value| redis::from_redis_value(value).ok()).ok_or_else(|| odd_answer(WHAT))?;
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
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (u64, Held, Delivery)> + '_ {
        let sources = self.counts.iter().flat_map(|(asked, count)| std::iter::repeat_n(&asked.source, *count));
        self.envelopes.iter().zip(sources).enumerate().map(|(place, (raw, source))| {
            let number = self.first + place as u64;
            let (held, delivery) = delivery(number, raw, source);
            (number, held, delivery)
        })
    }
}

fn delivery(number: u64, raw: &Bytes, source: &Arc<Source>) -> (Held, Delivery) {
    let own_tag = || Arc::from(number.to_string());
    let (tag, exchange, routing_key, redelivered, content) = match Envelope::decode(raw) {
        Ok(Envelope { message, delivery_tag, exchange, routing_key, redelivered }) => (
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
    let held = Held {
        tag,
        source: source.clone(),
        raw: raw.clone(),
        redelivered,
        begun: false,
        doubtful: false,
        settling: false,
    };
    let receipt = Seat::receipt(number, &held);
    let delivery = Delivery { receipt, queue: source.queue.clone(), exchange, routing_key, redelivered, content };
    (held, delivery)
}
