//! Claiming messages: one call of the claim script, and the deliveries that it makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apium_protocol::error::with_causes;
use apium_protocol::message::envelope::Envelope;
use apium_transport::broker::consumer::{Content, Delivery};
use apium_transport::error::Result;
use bytes::Bytes;
use memchr::memmem;
use redis::{Cmd, Value};

use crate::consumer::in_flight::InFlight;
use crate::consumer::state::ConsumerState;
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

/// What is reserved for a claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// The number of the first message; the others follow it.
    pub(crate) first: u64,
    /// The consumer's id.
    pub(crate) id: Arc<str>,
    pub(crate) wanted: usize,
    /// How many of them are marked as started.
    pub(crate) begin: usize,
}

/// A list from which settlements claim.
#[derive(Debug, Clone)]
pub(crate) struct NextList {
    pub(crate) queue_list: Arc<QueueList>,
    pub(crate) waited: Arc<Waited>,
}

/// What settlements see of the wait for a list.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    is_running: AtomicBool,
    may_have_moved: AtomicBool,
}

impl Waited {
    pub(crate) fn set(&self, is_running: bool, may_have_moved: bool) {
        self.is_running.store(is_running, Ordering::Relaxed);
        self.may_have_moved.store(may_have_moved, Ordering::Relaxed);
    }

    /// Whether it is running, or the server tracks the list. Then the list is empty, or the consumer is about to hear
    /// of its messages.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
    }

    /// Whether there may be a message in the handoff list, which comes before those in the list.
    pub(crate) fn may_have_moved(&self) -> bool {
        self.may_have_moved.load(Ordering::Relaxed)
    }
}

/// How much a settlement may claim.
#[derive(Debug)]
pub(crate) struct NextLimits<'a> {
    /// The lists to which it publishes: a wait gets nothing of that before the claim.
    pub(crate) published: Vec<&'a str>,
    /// How many messages, with those that are on their way.
    pub(crate) wanted: usize,
    /// How many of these are marked as started.
    pub(crate) marked: usize,
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
    /// The messages in order: what the consumer keeps of each while it is in flight, and its delivery.
    pub(crate) messages: Vec<(InFlight, Delivery)>,
    /// Nothing was claimed, since this consumer was taken for dead.
    pub(crate) gone: bool,
}

/// What a claim asks for. Its messages get the numbers from `first` on, at the consumer `id`.
#[derive(Debug)]
pub(crate) struct ClaimArgs {
    pub(crate) first: u64,
    pub(crate) id: Arc<str>,
    pub(crate) wanted: usize,
    /// How many of them are marked as started.
    pub(crate) begin: usize,
    pub(crate) lists: Vec<ClaimRequest>,
}

impl ClaimArgs {
    /// Adds the arguments of the script, whose head comment explains them. After `room` bytes no more is taken.
    pub(crate) fn append(&self, now: i64, room: Option<usize>, command: &mut Cmd) {
        command.arg(score(now, false)).arg(score(now, true)).arg(&*self.id).arg(Keys::tag_prefix(&self.id));
        command.arg(self.first).arg(self.wanted).arg(self.begin).arg(room.map_or_else(String::new, |n| n.to_string()));
        for request in &self.lists {
            command.arg(if request.reads_list { request.queue_list.key.as_str() } else { "" });
            command.arg(request.handoff.as_deref().unwrap_or_default()).arg(request.queue_list.unacked_suffix.as_str());
        }
    }

    /// Reads the answer of the script; `None` if it is none.
    pub(crate) async fn read(self, shared: &BrokerShared, answer: Vec<Value>) -> Result<Option<Claimed>> {
        let mut parts = answer.into_iter();
        let counts = parts.next().and_then(|value| redis::from_redis_value::<String>(value).ok());
        let Some(counts) = counts else { return Ok(None) };
        let gone = counts == "gone";
        let counts = counts.split(' ').map(|count| count.parse().unwrap_or(0));
        let Self { first, id, wanted, begin, lists } = self;
        let counts: Vec<_> = if gone { Vec::new() } else { lists.into_iter().zip(counts).collect() };
        let queue_lists = counts.iter().flat_map(|(request, count)| std::iter::repeat_n(&request.queue_list, *count));
        let envelopes = parts.filter_map(|part| match part {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        let messages = envelopes.zip(queue_lists).zip(first..).enumerate();
        let mut messages: Vec<_> = messages
            .map(|(index, ((raw, queue_list), number))| message(number, raw, queue_list, index < begin))
            .collect();
        add_crashes(shared, &mut messages).await?;
        Ok(Some(Claimed { counts, messages, id, first, wanted, gone }))
    }
}

/// The time from which the numbers of messages are made.
pub(crate) fn now_micros(shared: &BrokerShared) -> u64 {
    u64::try_from(shared.connection.clock().now().as_microsecond()).unwrap_or(0)
}

/// Claims messages.
pub(crate) async fn claim(shared: Arc<BrokerShared>, args: ClaimArgs) -> Result<Claimed> {
    const WHAT: &str = "claim messages";
    let now = shared.connection.server_now();
    reached("before-claim");
    let answer = shared
        .connection
        .script(WHAT, &CLAIM, |command| {
            command.arg(3).arg(shared.keys.unacked()).arg(shared.keys.unacked_index()).arg(shared.keys.leases());
            args.append(now, None, command);
        })
        .await?;
    reached("after-claim");
    let Value::Array(answer) = answer else { return Err(unexpected_reply(WHAT)) };
    args.read(&shared, answer).await?.ok_or_else(|| unexpected_reply(WHAT))
}

/// Whether a message was delivered before, as its envelope says.
fn says_redelivered(raw: &[u8]) -> bool {
    memmem::find(raw, b"\"redelivered\"").is_some()
}

/// Reads how often messages killed their worker. Only one that was delivered before can have done so, so for all others
/// nothing is asked.
///
/// # Errors
/// A connection that broke: the claim is then one without a reply, and what it took is requeued.
async fn add_crashes(shared: &BrokerShared, messages: &mut [(InFlight, Delivery)]) -> Result<()> {
    let mut suspects: Vec<_> = messages.iter_mut().filter(|(in_flight, _)| in_flight.redelivered).collect();
    if suspects.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd("HMGET");
    command.arg(shared.keys.crashes());
    for (in_flight, _) in &suspects {
        command.arg(&*in_flight.tag);
    }
    let answer = match shared.connection.command("read the crashes of messages", &command).await {
        Ok(answer) => answer,
        Err(error) if error.is_connection() => return Err(error),
        Err(error) => {
            tracing::warn!(error = %with_causes(&error), "could not read how often messages killed their worker; they count as new");
            return Ok(());
        }
    };
    let counts: Vec<Option<u32>> = redis::from_redis_value(answer).unwrap_or_default();
    for ((_, delivery), count) in suspects.iter_mut().zip(counts) {
        delivery.crashes = count.unwrap_or(0);
    }
    Ok(())
}

/// What was claimed for a consumer that is closed, or has another id by now: the id, and the messages.
type NotAdded = (Arc<str>, Vec<(u64, InFlight)>);

impl ClaimRequest {
    /// Reads this list for a settlement of the consumer `id`.
    pub(crate) fn of_next(keys: &Keys, id: &str, list: &NextList) -> Self {
        let handoff = list.waited.may_have_moved().then(|| keys.handoff(id, &list.queue_list.key));
        Self { queue_list: list.queue_list.clone(), list_number: 0, handoff, reads_list: true }
    }
}

impl Claimed {
    /// Puts the messages in flight at the consumer, and into its buffer. Otherwise it returns the id under which they
    /// were claimed, and them: others have reclaimed that id already, so nobody else would find them.
    pub(crate) fn add_to(self, state: &ConsumerState) -> Result<(), NotAdded> {
        let (mut in_flight, mut deliveries) = (Vec::with_capacity(self.messages.len()), Vec::new());
        for (number, (message, delivery)) in (self.first..).zip(self.messages) {
            in_flight.push((number, message));
            deliveries.push(delivery);
        }
        state.add_claimed(&self.id, in_flight, deliveries).map_err(|in_flight| (self.id, in_flight))
    }
}

/// Reads a message. `begins` is whether the claim has marked it as started, unless it was delivered before.
fn message(number: u64, raw: Bytes, queue_list: &Arc<QueueList>, begins: bool) -> (InFlight, Delivery) {
    let started = begins && !says_redelivered(&raw);
    let own_tag = || Arc::from(number.to_string());
    let (tag, exchange, routing_key, redelivered, content) = match Envelope::decode(&raw) {
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
        raw,
        redelivered,
        started,
        counts_crash: started,
        unanswered: false,
        settling: false,
    };
    let receipt = ConsumerState::receipt(number, &in_flight);
    let mut delivery = Delivery::new(receipt, queue_list.queue.clone(), exchange, routing_key, content);
    delivery.redelivered = redelivered;
    delivery.started = started;
    (in_flight, delivery)
}
