//! What cases are written with: messages by name, consuming a number of them, bounded waits.

use std::future::Future;
use std::time::{Duration, Instant};

use apium_protocol::json::text::Json;
use apium_protocol::message::message::Message;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::backend::backend::{ResultRecord, RunVersion};
use crate::broker::broker::SharedBroker;
use crate::broker::consumer::{Consumer, Content, Delivery};
use crate::broker::dead_set::DeadReason;
use crate::broker::outgoing::Outgoing;
use crate::broker::queue_admin::QueueStats;
use crate::broker::settlement::{Disposition, Receipt};
use crate::conformance::fixture::Fixture;
use crate::error::{ErrorKind, Result};

/// Waits for something that has to happen soon; fails after 20 s.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    const BOUND: Duration = Duration::from_secs(20);
    let started = Instant::now();
    let happened = tokio::time::timeout(BOUND, happens).await;
    // At the end of the bound the future is polled once more. What only this poll found was never woken.
    assert!(happened.is_ok() && started.elapsed() < BOUND, "{what}: not within {BOUND:?}");
    happened.expect("looked at above")
}

/// Waits until `holds` is true, and asks again and again meanwhile; fails after 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    soon(what, wait).await;
}

/// Polls `future` this many times, and lets others run in between; `None` if it is not done by then.
pub(crate) async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..times {
        if let Some(output) = future.as_mut().now_or_never() {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Runs two futures together. Each is polled only when it was woken itself, so that a missing wake is found.
pub(crate) async fn join<'a, A: 'a, B: 'a>(
    first: impl Future<Output = A> + 'a,
    second: impl Future<Output = B> + 'a,
) -> (A, B) {
    let (mut left, mut right) = (None, None);
    let (to_left, to_right) = (&mut left, &mut right);
    let both = FuturesUnordered::<LocalBoxFuture<'_, ()>>::new();
    both.push(Box::pin(async move { *to_left = Some(first.await) }));
    both.push(Box::pin(async move { *to_right = Some(second.await) }));
    both.collect::<()>().await;
    (left.expect("it ended"), right.expect("it ended"))
}

/// A task message whose id and body are `name`.
pub(crate) fn message(name: &str) -> Message {
    let mut message = Message::default();
    message.headers.task = Some("tasks.case".into());
    message.headers.id = Some(TaskId::from(name));
    message.properties.correlation_id = Some(name.into());
    message.body = name.to_owned().into();
    message
}

/// A message on its way to `queue`.
pub(crate) fn to(queue: &str, name: &str) -> Outgoing {
    Outgoing::to_queue(queue, message(name))
}

/// A message on its way to an exchange.
pub(crate) fn through(exchange: &str, key: &str, name: &str) -> Outgoing {
    Outgoing { exchange: exchange.into(), routing_key: key.into(), message: message(name), eta: None }
}

/// A message on its way to `queue`, with a priority.
pub(crate) fn with_priority(queue: &str, name: &str, priority: u8) -> Outgoing {
    let mut out = to(queue, name);
    out.message.properties.priority = Some(priority);
    out
}

/// `prefix0`, `prefix1`, …
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// Publishes messages of these names to `queue`, in one batch.
pub(crate) async fn send<S: AsRef<str>>(broker: &SharedBroker, queue: &str, names: &[S]) {
    let batch = names.iter().map(|name| to(queue, name.as_ref())).collect();
    broker.publish(batch).await.expect("could not publish");
}

/// Waits for one batch.
pub(crate) async fn next(consumer: &mut Box<dyn Consumer>, max: usize) -> Vec<Delivery> {
    let batch = soon("the next delivery", consumer.next(max)).await.expect("could not wait for deliveries");
    assert!(!batch.is_empty(), "next returned no delivery");
    assert!(batch.len() <= max, "next({max}) returned {} deliveries", batch.len());
    batch
}

/// Waits until `count` deliveries have come.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        all.extend(next(consumer, count - all.len()).await);
    }
    all
}

/// Asserts that `queue` holds nothing for this consumer but what is sent now: a message sent last comes alone.
pub(crate) async fn nothing_else(broker: &SharedBroker, queue: &str, consumer: &mut Box<dyn Consumer>) {
    let sentinel = format!("sentinel-{}", TaskId::random());
    send(broker, queue, &[&sentinel]).await;
    let batch = next(consumer, 100).await;
    assert_eq!(names(&batch), [sentinel], "something came that should not be there");
    ack(&**consumer, &batch).await;
}

/// The message of a delivery.
pub(crate) fn content(delivery: &Delivery) -> &Message {
    match &delivery.content {
        Content::Message(message) => message,
        Content::Unreadable { reason, .. } => panic!("a message came out unreadable: {reason}"),
    }
}

/// The names of delivered messages.
pub(crate) fn names(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(|delivery| String::from_utf8_lossy(&content(delivery).body).into_owned()).collect()
}

/// Their receipts.
pub(crate) fn receipts(batch: &[Delivery]) -> Vec<Receipt> {
    batch.iter().map(|delivery| delivery.receipt.clone()).collect()
}

/// Acks deliveries.
pub(crate) async fn ack(consumer: &dyn Consumer, batch: &[Delivery]) {
    consumer.acker().ack(receipts(batch)).await.expect("could not ack");
}

/// Rejects deliveries, all in the same way.
pub(crate) async fn reject(consumer: &dyn Consumer, batch: &[Delivery], how: &Disposition) {
    let batch = receipts(batch).into_iter().map(|receipt| (receipt, how.clone())).collect();
    consumer.acker().reject(batch).await.expect("could not reject");
}

/// A reason for the dead set.
pub(crate) fn reason(text: &str) -> Disposition {
    Disposition::Dead(DeadReason { code: "rejected", text: text.to_owned() })
}

/// Asserts that an operation failed for these lost receipts, and that it names them.
pub(crate) fn assert_lost(result: Result<()>, lost: &[Receipt]) {
    let error = result.expect_err("a lost receipt was settled");
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    for receipt in lost {
        assert!(format!("{error:#}").contains(&receipt.to_string()), "{error:?} does not name {receipt}");
    }
}

/// The counts of a queue; zeros when it is not known.
pub(crate) async fn stats(f: &Fixture, queue: &str) -> QueueStats {
    let all = f.counts().stats().await.expect("could not count the queues");
    let missing = || QueueStats { queue: queue.to_owned(), ..QueueStats::default() };
    all.into_iter().find(|stats| stats.queue == queue).unwrap_or_else(missing)
}

/// How many messages of a queue can be delivered now.
pub(crate) async fn depth(f: &Fixture, queue: &str) -> u64 {
    f.queues().depth(queue).await.expect("could not count the messages of a queue")
}

/// Asserts that the counts of `queue` are (ready, unacked, delayed). Of a broker that does not count its queues, only
/// the first is looked at.
pub(crate) async fn assert_counts(f: &Fixture, queue: &str, wanted: (u64, u64, u64)) {
    assert_eq!(depth(f, queue).await, wanted.0, "ready in {queue}");
    if f.queues().counts().is_some() {
        let found = stats(f, queue).await;
        assert_eq!((found.ready, found.unacked, found.delayed), wanted, "(ready, unacked, delayed) of {queue}");
    }
}

/// A result document.
pub(crate) fn document(id: &str, state: State, result: &str) -> ResultDocument {
    ResultDocument::new(TaskId::from(id), state, Json::from_serialize(result).expect("a text is JSON"))
}

/// A record that is kept for ever.
pub(crate) fn record(id: &str, state: State, run: Option<RunVersion>) -> ResultRecord {
    let result = state.to_string();
    ResultRecord { run, reply_to: Some("conformance".into()), ..ResultRecord::new(document(id, state, &result)) }
}

/// A run of a task.
pub(crate) fn run(retries: u32, delivery: u64) -> Option<RunVersion> {
    Some(RunVersion { retries, delivery })
}

/// The stored state of a task.
pub(crate) async fn state_of(f: &Fixture, id: &str) -> Option<State> {
    let found = f.stored().fetch(&[TaskId::from(id)]).await.expect("could not fetch");
    assert_eq!(found.len(), 1, "fetch of one id returned {} answers", found.len());
    found.into_iter().flatten().next().map(|document| document.state)
}
