//! Messages that wait in the server: Celery's native delayed delivery, a chain of queues each of which keeps messages
//! for a power of two of seconds. Before it stand queues of Apium's own for the part of a second.

use std::time::Duration;

use apium_transport::broker::topology::{ExchangeType, Queue, QueueType};
use apium_transport::error::Result;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use lapin::ExchangeKind;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::commands::Commands;
use crate::connection::live_channel::LiveChannel;
use crate::errors::is_mismatch;
use crate::publish::table::{int, short, table};

/// How many powers of two there are.
const LEVELS: usize = 28;

/// The largest number of seconds; what is due later is delayed again when it comes.
const LONGEST: u64 = (1 << LEVELS) - 1;

/// The exchange from which delayed messages go to their queues.
pub(crate) const DELIVERY: &str = "celery_delayed_delivery";

/// The steps of the part of a second.
const STEP: u64 = 100;

/// The longest name of a queue that fits behind the digits in a routing key.
const LONGEST_NAME: usize = 255 - 2 * LEVELS;

fn level_name(level: usize) -> String {
    format!("celery_delayed_{level}")
}

fn part_name(milliseconds: u64) -> String {
    format!("apium_delayed_{milliseconds}ms")
}

/// How long a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    seconds: u64,
    /// A multiple of [`STEP`], below a second.
    milliseconds: u64,
}

impl Delay {
    /// From now until then, rounded up; `None` if that is past.
    pub(crate) fn until(now: Timestamp, then: Timestamp) -> Option<Self> {
        let micros = then.as_microsecond().checked_sub(now.as_microsecond()).and_then(|span| u64::try_from(span).ok());
        let micros = micros.filter(|micros| *micros > 0)?;
        let milliseconds = micros.div_ceil(STEP * 1000) * STEP;
        Some(Self { seconds: (milliseconds / 1000).min(LONGEST), milliseconds: milliseconds % 1000 })
    }

    /// The exchange that a message goes to.
    pub(crate) fn exchange(self) -> String {
        if self.milliseconds > 0 {
            return part_name(self.milliseconds);
        }
        // The levels above the largest digit have nothing to do, and each costs the server some time.
        let largest = u64::BITS - 1 - (self.seconds | 1).leading_zeros();
        level_name(largest as usize)
    }

    /// The routing key: a digit for each level, the largest first, and then where the message goes.
    pub(crate) fn routing_key(self, target: &str) -> String {
        let mut key = String::with_capacity(2 * LEVELS + target.len());
        for level in (0..LEVELS).rev() {
            key.push(if self.seconds >> level & 1 == 1 { '1' } else { '0' });
            key.push('.');
        }
        key.push_str(target);
        key
    }
}

/// The target in a routing key of a delayed message; `None` if it is none.
pub(crate) fn target_of(routing_key: &str) -> Option<&str> {
    let digits = routing_key.as_bytes().get(..2 * LEVELS)?;
    let is_digit = |pair: &[u8]| matches!(pair, [b'0' | b'1', b'.']);
    digits.chunks(2).all(is_digit).then(|| &routing_key[2 * LEVELS..])
}

/// The word by which a queue gets its own delayed messages. A name that is too long, or that has words which mean
/// something in a binding, has another one.
pub(crate) fn target_of_queue(queue: &str) -> String {
    let is_pattern = queue.split('.').any(|word| matches!(word, "*" | "#"));
    if queue.len() <= LONGEST_NAME && !is_pattern {
        return queue.to_owned();
    }
    format!("apium.{}", uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, queue.as_bytes()))
}

fn stars(count: usize) -> String {
    "*.".repeat(count)
}

/// The binding by which a queue gets its own delayed messages.
fn queue_binding(queue: &str) -> String {
    format!("{}{}", stars(LEVELS), target_of_queue(queue))
}

/// Declares all exchanges and queues of delays.
pub(crate) async fn declare(commands: &mut Commands<'_>, kind: QueueType) -> Result<()> {
    let what = "declare the queues of delays";
    let channel = commands.channel(what).await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let topics = (0..LEVELS).map(level_name).chain([DELIVERY.to_owned()]).map(|name| (name, ExchangeKind::Topic));
    let parts = (1..1000 / STEP).map(|part| (part_name(part * STEP), ExchangeKind::Fanout));
    let exchanges = topics.chain(parts);
    channel
        .run(what, |channel| {
            try_join_all(exchanges.map(|(name, kind)| {
                channel.exchange_declare(name.as_str().into(), kind, durable, FieldTable::default())
            }))
        })
        .await?;
    let other = if kind == QueueType::Quorum { QueueType::Classic } else { QueueType::Quorum };
    match declare_queues(&channel, kind).await {
        // They are there with the other type, which is as good.
        Err(error) if is_mismatch(&error) => {
            let channel = commands.channel(what).await?;
            let again = declare_queues(&channel, other).await;
            again.map_err(|error| channel.error(what, &error))?;
        }
        declared => declared.map_err(|error| channel.error(what, &error))?,
    }
    let channel = commands.channel(what).await?;
    let levels = (0..LEVELS).map(|level| {
        let key = format!("{}1.#", stars(LEVELS - 1 - level));
        (level_name(level), level_name(level), key)
    });
    let parts = (1..1000 / STEP).map(|part| (part_name(part * STEP), part_name(part * STEP), String::new()));
    let bindings = levels.chain(parts);
    channel
        .run(what, |channel| {
            try_join_all(bindings.map(|(name, exchange, key)| {
                let (name, exchange, key) = (name.as_str().into(), exchange.as_str().into(), key.as_str().into());
                channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default())
            }))
        })
        .await?;
    let skips = (0..LEVELS).map(|level| {
        let next = level.checked_sub(1).map_or_else(|| DELIVERY.to_owned(), level_name);
        (next, level_name(level), format!("{}0.#", stars(LEVELS - 1 - level)))
    });
    channel
        .run(what, |channel| {
            try_join_all(skips.map(|(next, from, key)| {
                let (next, from, key) = (next.as_str().into(), from.as_str().into(), key.as_str().into());
                channel.exchange_bind(next, from, key, ExchangeBindOptions::default(), FieldTable::default())
            }))
        })
        .await
        .map(drop)
}

async fn declare_queues(channel: &LiveChannel, kind: QueueType) -> lapin::Result<()> {
    let arguments = |milliseconds: u64, next: String| {
        let mut arguments = table([
            ("x-queue-type", AMQPValue::LongString(kind.name().into())),
            ("x-overflow", AMQPValue::LongString("reject-publish".into())),
            ("x-message-ttl", int(i64::try_from(milliseconds).unwrap_or(i64::MAX))),
            ("x-dead-letter-exchange", AMQPValue::LongString(next.into())),
        ]);
        if kind == QueueType::Quorum {
            arguments.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        }
        arguments
    };
    let levels = (0..LEVELS).map(|level| {
        let next = level.checked_sub(1).map_or_else(|| DELIVERY.to_owned(), level_name);
        (level_name(level), arguments(1000 << level, next))
    });
    let parts = (1..1000 / STEP).map(|part| (part_name(part * STEP), arguments(part * STEP, level_name(LEVELS - 1))));
    let queues = levels.chain(parts);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    // Making queues takes the server a moment for each.
    channel
        .attempt_within(Duration::from_secs(30), |channel| {
            try_join_all(
                queues.map(|(name, arguments)| channel.queue_declare(name.as_str().into(), durable, arguments)),
            )
        })
        .await
        .map(drop)
}

/// Lets a queue get its own delayed messages.
pub(crate) async fn bind_queue(commands: &mut Commands<'_>, queue: &str) -> Result<()> {
    let what = format!("bind the queue {queue:?} for delayed messages");
    let channel = commands.channel(&what).await?;
    let key = short("routing key", &queue_binding(queue))?;
    let queue = short("name of a queue", queue)?;
    let options = QueueBindOptions::default();
    channel.run(&what, |channel| channel.queue_bind(queue, DELIVERY.into(), key, options, FieldTable::default())).await
}

/// Lets a queue of an exchange that is not direct get what Celery's and Apium's clients delay on that exchange, by the
/// bindings that Celery's workers make.
pub(crate) async fn bind_exchange(commands: &mut Commands<'_>, queue: &Queue) -> Result<()> {
    let what = format!("bind the exchange {:?} for delayed messages", queue.exchange);
    let channel = commands.channel(&what).await?;
    let key = short("routing key", &format!("#.{}", queue.routing_key))?;
    let exchange = short("name of an exchange", &queue.exchange)?;
    let name = short("name of a queue", &queue.name)?;
    let (from, its_key, options) = (exchange.clone(), key.clone(), ExchangeBindOptions::default());
    channel
        .run(&what, |channel| channel.exchange_bind(from, DELIVERY.into(), its_key, options, <_>::default()))
        .await?;
    if queue.exchange_type == ExchangeType::Headers {
        // A binding without headers would get every message, and the one with headers gets those that were delayed.
        return Ok(());
    }
    let options = QueueBindOptions::default();
    channel.run(&what, |channel| channel.queue_bind(name, exchange, key, options, FieldTable::default())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    #[test]
    fn a_delay_is_rounded_up_to_a_tenth_of_a_second() {
        for (micros, exchange, key) in [
            (1, "apium_delayed_100ms", "0.0.x"),
            (100_000, "apium_delayed_100ms", "0.0.x"),
            (100_001, "apium_delayed_200ms", "0.0.x"),
            (999_999, "celery_delayed_0", "0.1.x"),
            (3_000_000, "celery_delayed_1", "1.1.x"),
            (2_300_000, "apium_delayed_300ms", "1.0.x"),
        ] {
            let delay = Delay::until(at(0), at(micros)).unwrap();
            assert_eq!(delay.exchange(), exchange, "{micros}");
            assert!(delay.routing_key("x").ends_with(key), "{micros}");
        }
        assert_eq!(Delay::until(at(5), at(5)), None);
        assert_eq!(Delay::until(at(5), at(1)), None);
    }

    #[test]
    fn a_routing_key_is_that_of_celery() {
        // The vector amqp_native_delayed_delivery: a countdown of 3 s.
        let delay = Delay::until(at(0), at(3_000_000)).unwrap();
        let wanted = format!("{}1.1.celery", "0.".repeat(26));
        assert_eq!(delay.routing_key("celery"), wanted);
        assert_eq!(target_of(&wanted), Some("celery"));
        assert_eq!(target_of("celery"), None);
        assert_eq!(target_of(&format!("{}2.x", "0.".repeat(27))), None);
        assert_eq!(target_of(&format!("{}x", "0.".repeat(28))), Some("x"));
    }

    #[test]
    fn the_longest_delay_is_celerys() {
        let delay = Delay::until(at(0), Timestamp::MAX).unwrap();
        assert_eq!(delay.routing_key("q"), format!("{}q", "1.".repeat(28)));
    }

    #[test]
    fn odd_names_have_a_target_of_their_own() {
        assert_eq!(target_of_queue("a.b c"), "a.b c");
        for odd in ["a.*", "#", &"long".repeat(60)] {
            let target = target_of_queue(odd);
            assert!(target.starts_with("apium.") && target.len() < 60, "{target}");
        }
        assert_ne!(target_of_queue("*"), target_of_queue("#"));
    }
}
