//! Broadcasts: who hears a message, and who does not.

use bytes::Bytes;

use crate::broker::broadcast::{Broadcast, BroadcastExchange, Mailbox, MailboxSpec, Received};
use crate::broker::broker::SharedBroker;
use crate::broker::outgoing::Outgoing;
use crate::broker::topology::ExchangeType;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{join, message, numbered, poll_times, soon};
use crate::error::ErrorKind;

const NOBODY: &str = "nobody@conformance";

fn fanout() -> BroadcastExchange {
    BroadcastExchange::new("case.pidbox", ExchangeType::Fanout)
}

fn topic() -> BroadcastExchange {
    BroadcastExchange::new("caseev", ExchangeType::Topic)
}

fn direct() -> BroadcastExchange {
    BroadcastExchange::new("reply.case.pidbox", ExchangeType::Direct)
}

fn seam(broker: &SharedBroker) -> &dyn Broadcast {
    broker.broadcast().expect("it has broadcasts")
}

async fn open(broker: &SharedBroker, spec: MailboxSpec) -> Box<dyn Mailbox> {
    soon("a mailbox", seam(broker).listen(spec)).await.expect("could not listen")
}

async fn listen(f: &Fixture, exchange: BroadcastExchange, queue: &str, binding: &str) -> Box<dyn Mailbox> {
    open(&f.broker, MailboxSpec::new(exchange, queue, binding)).await
}

/// The mailbox of a caller, as Celery names it.
async fn replies(f: &Fixture, caller: &str) -> Box<dyn Mailbox> {
    listen(f, direct(), &format!("{caller}.{}", direct().name), caller).await
}

fn keyed(key: &str, name: &str) -> Outgoing {
    Outgoing::new("".into(), key.into(), message(name))
}

async fn send<S: AsRef<str>>(broker: &SharedBroker, exchange: &BroadcastExchange, key: &str, names: &[S]) {
    let batch = names.iter().map(|name| keyed(key, name.as_ref())).collect();
    soon("a broadcast", seam(broker).send(exchange, batch)).await.expect("could not broadcast");
}

async fn next(mailbox: &mut Box<dyn Mailbox>) -> Received {
    let received = soon("a broadcast", mailbox.next()).await.expect("could not listen");
    assert!(!received.messages.is_empty(), "next returned no message");
    received
}

fn names(received: &Received) -> Vec<String> {
    received.messages.iter().map(|one| String::from_utf8_lossy(&one.message.body).into_owned()).collect()
}

/// Listens until the message of this name came; the names of all, with it.
async fn until_heard(mailbox: &mut Box<dyn Mailbox>, last: &str) -> Vec<String> {
    let mut heard: Vec<String> = Vec::new();
    while heard.last().is_none_or(|name| name != last) {
        let received = next(mailbox).await;
        assert!(!received.missed, "something is said to be missed after {heard:?}");
        heard.extend(names(&received));
    }
    heard
}

/// Each listener of a fanout exchange gets each message, whatever the routing keys are.
pub async fn a_fanout_reaches_every_listener(f: Fixture) {
    let mut listeners = Vec::new();
    for n in 0..3 {
        listeners.push(listen(&f, fanout(), &format!("node{n}.case.pidbox"), "").await);
    }
    send(&f.broker, &fanout(), "", &["one", "two"]).await;
    send(&f.broker, &fanout(), "a.key", &["three"]).await;
    send(&f.broker, &fanout(), "", &["four"]).await;
    for listener in &mut listeners {
        assert_eq!(until_heard(listener, "four").await, ["one", "two", "three", "four"]);
    }
}

/// A message has its properties, headers, body and routing key.
pub async fn a_broadcast_comes_out_as_it_went_in(f: Fixture) {
    let mut listener = listen(&f, topic(), "caseev.1", "#").await;
    let sent = message("m");
    send(&f.broker, &topic(), "worker.online", &["m"]).await;
    let received = next(&mut listener).await;
    assert_eq!(received.messages.len(), 1);
    assert_eq!(*received.messages[0].routing_key, *"worker.online");
    assert_eq!(received.messages[0].message, sent);
}

/// Patterns choose by the words of the routing key.
pub async fn topics_choose_their_listeners(f: Fixture) {
    const KEYS: [&str; 6] = ["worker", "worker.heartbeat", "workers.x", "task.sent", "task.a.b", "end"];
    let wanted: [(&str, &[&str]); 6] = [
        ("#", &KEYS),
        ("worker.#", &["worker", "worker.heartbeat"]),
        ("task.*", &["task.sent"]),
        ("task.#", &["task.sent", "task.a.b"]),
        ("worker.heartbeat", &["worker.heartbeat"]),
        ("*.*", &["worker.heartbeat", "workers.x", "task.sent"]),
    ];
    let mut listeners = Vec::new();
    for (n, (pattern, _)) in wanted.iter().enumerate() {
        listeners.push(listen(&f, topic(), &format!("caseev.{n}"), pattern).await);
    }
    for key in KEYS {
        send(&f.broker, &topic(), key, &[key]).await;
    }
    for (listener, (pattern, keys)) in listeners.iter_mut().zip(wanted) {
        let last = keys.last().expect("each hears something");
        assert_eq!(until_heard(listener, last).await, keys, "{pattern}");
        assert!(poll_times(listener.next(), 3).await.is_none(), "{pattern} hears more");
    }
}

/// A message on one exchange is not heard on another.
pub async fn exchanges_are_apart(f: Fixture) {
    let mut events = listen(&f, topic(), "caseev.1", "#").await;
    let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
    send(&f.broker, &fanout(), "", &["request"]).await;
    send(&f.broker, &topic(), "worker.online", &["event"]).await;
    assert_eq!(until_heard(&mut events, "event").await, ["event"]);
    assert_eq!(until_heard(&mut requests, "request").await, ["request"]);
}

/// A message of a direct exchange goes to the mailbox that is bound by its key; without one it is dropped.
pub async fn a_reply_goes_to_its_caller(f: Fixture) {
    let (mut first, mut second) = (replies(&f, "first").await, replies(&f, "second").await);
    let batch = vec![keyed("first", "one"), keyed(NOBODY, "lost"), keyed("second", "two"), keyed("first", "three")];
    seam(&f.broker).send(&direct(), batch).await.expect("could not broadcast");
    assert_eq!(until_heard(&mut first, "three").await, ["one", "three"]);
    assert_eq!(until_heard(&mut second, "two").await, ["two"]);
}

/// A caller that waits is woken by a reply.
pub async fn a_reply_wakes_its_caller(f: Fixture) {
    let mut caller = replies(&f, "caller").await;
    for name in ["one", "two"] {
        let (received, ()) = join(next(&mut caller), async {
            tokio::task::yield_now().await;
            send(&f.broker, &direct(), "caller", &[name]).await;
        })
        .await;
        assert_eq!(names(&received), [name]);
    }
}

/// That nobody listens is no error, and nothing is kept for who listens later.
pub async fn what_was_sent_before_is_not_heard(f: Fixture) {
    send(&f.broker, &fanout(), "", &["early"]).await;
    send(&f.broker, &topic(), "worker.online", &["early"]).await;
    send(&f.broker, &direct(), "caller", &["early"]).await;
    let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
    let mut events = listen(&f, topic(), "caseev.1", "#").await;
    let mut caller = replies(&f, "caller").await;
    send(&f.broker, &fanout(), "", &["now"]).await;
    send(&f.broker, &topic(), "worker.online", &["now"]).await;
    send(&f.broker, &direct(), "caller", &["now"]).await;
    for mailbox in [&mut requests, &mut events, &mut caller] {
        assert_eq!(until_heard(mailbox, "now").await, ["now"]);
    }
}

/// What is sent after a mailbox was dropped is not heard by the next one of its name.
pub async fn a_dropped_mailbox_leaves_nothing(f: Fixture) {
    for round in ["first", "second"] {
        let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
        let mut caller = replies(&f, "caller").await;
        send(&f.broker, &fanout(), "", &[round]).await;
        send(&f.broker, &direct(), "caller", &[round]).await;
        assert_eq!(until_heard(&mut requests, round).await, [round]);
        assert_eq!(until_heard(&mut caller, round).await, [round]);
        send(&f.broker, &direct(), "caller", &["unread"]).await;
        drop((requests, caller));
        send(&f.broker, &fanout(), "", &["unheard"]).await;
        send(&f.broker, &direct(), "caller", &["unheard"]).await;
    }
}

/// A mailbox that is full loses the oldest messages and says so once.
pub async fn a_full_mailbox_loses_the_oldest(f: Fixture) {
    let mut spec = MailboxSpec::new(fanout(), "slow.case.pidbox", "");
    spec.capacity = 3;
    let mut slow = open(&f.broker, spec).await;
    let mut witness = listen(&f, fanout(), "witness.case.pidbox", "").await;
    send(&f.broker, &fanout(), "", &numbered("m", 6)).await;
    until_heard(&mut witness, "m5").await;
    send(&f.broker, &fanout(), "", &["last"]).await;
    until_heard(&mut witness, "last").await;
    let received = next(&mut slow).await;
    assert!(received.missed, "it does not say that messages are missing");
    let mut heard = names(&received);
    while heard.last().is_none_or(|name| name != "last") {
        let received = next(&mut slow).await;
        assert!(!received.missed, "it says it twice");
        heard.extend(names(&received));
    }
    let all = ["m3", "m4", "m5", "last"];
    assert!(all.ends_with(&heard.iter().map(String::as_str).collect::<Vec<_>>()), "{heard:?}");
    assert!(heard.len() >= 3, "{heard:?}");
}

/// Dropping a wait loses no message.
pub async fn a_dropped_listening_loses_nothing(f: Fixture) {
    let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
    let mut caller = replies(&f, "caller").await;
    let all = numbered("m", 30);
    let (mut heard, mut replied) = (Vec::new(), Vec::new());
    for name in &all {
        send(&f.broker, &fanout(), "", &[name]).await;
        send(&f.broker, &direct(), "caller", &[name]).await;
        for (mailbox, got) in [(&mut requests, &mut heard), (&mut caller, &mut replied)] {
            if let Some(received) = poll_times(mailbox.next(), 2).await {
                got.extend(names(&received.expect("could not listen")));
            }
        }
    }
    for (mailbox, mut got) in [(&mut requests, heard), (&mut caller, replied)] {
        while got.len() < all.len() {
            got.extend(names(&next(mailbox).await));
        }
        assert_eq!(got, all);
    }
}

/// What one sender sends comes in its order.
pub async fn senders_keep_their_order(f: Fixture) {
    let mut listener = listen(&f, topic(), "caseev.1", "#").await;
    let sending = |sender: &'static str| {
        let broker = f.broker.clone();
        async move {
            for batch in numbered(sender, 120).chunks(7) {
                send(&broker, &topic(), &format!("task.{sender}"), batch).await;
            }
        }
    };
    join(sending("a"), sending("b")).await;
    let mut heard = Vec::new();
    while heard.len() < 240 {
        heard.extend(names(&next(&mut listener).await));
    }
    for sender in ["a", "b"] {
        let own: Vec<&String> = heard.iter().filter(|name| name.starts_with(sender)).collect();
        assert_eq!(own, numbered(sender, 120).iter().collect::<Vec<_>>());
    }
}

/// Large messages are carried, in both directions.
pub async fn ten_megabytes_are_broadcast(f: Fixture) {
    let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
    let mut caller = replies(&f, "caller").await;
    let mut large = message("large");
    large.body = Bytes::from(vec![b'x'; 10_000_000]);
    let outgoing = |key: &str| vec![Outgoing::new("".into(), key.into(), large.clone())];
    seam(&f.broker).send(&fanout(), outgoing("")).await.expect("could not broadcast");
    seam(&f.broker).send(&direct(), outgoing("caller")).await.expect("could not reply");
    for mailbox in [&mut requests, &mut caller] {
        let received = next(mailbox).await;
        assert_eq!(received.messages.len(), 1);
        assert!(received.messages[0].message == large, "it comes out changed");
    }
}

/// A mailbox that waits while its broker is closed does not wait for ever; a closed broker says so.
pub async fn closing_ends_the_listening(f: Fixture) {
    let mut requests = listen(&f, fanout(), "node.case.pidbox", "").await;
    let mut caller = replies(&f, "caller").await;
    let waits = async { join(soon("the end", requests.next()), soon("the end", caller.next())).await };
    let ((heard, replied), closed) = join(waits, async {
        tokio::task::yield_now().await;
        f.broker.close().await
    })
    .await;
    closed.expect("could not close");
    for ended in [heard, replied, requests.next().await, caller.next().await] {
        assert_eq!(ended.expect_err("a closed mailbox hears something").kind(), ErrorKind::Closed);
    }
    let sent = seam(&f.broker).send(&fanout(), vec![keyed("", "m")]).await;
    assert_eq!(sent.expect_err("a closed broker sends").kind(), ErrorKind::Closed);
    let opened = seam(&f.broker).listen(MailboxSpec::new(fanout(), "node.case.pidbox", "")).await;
    assert_eq!(opened.map(drop).expect_err("a closed broker listens").kind(), ErrorKind::Closed);
}

/// What one handle sends, another hears, and the other way round.
pub async fn handles_reach_each_other(f: Fixture) {
    let other = f.reopen().await;
    let mut requests = open(&other.broker, MailboxSpec::new(fanout(), "node.case.pidbox", "")).await;
    let mut caller = replies(&f, "caller").await;
    for name in ["one", "two"] {
        let (received, ()) = join(next(&mut requests), async {
            tokio::task::yield_now().await;
            send(&f.broker, &fanout(), "", &[name]).await;
        })
        .await;
        assert_eq!(names(&received), [name]);
        let (received, ()) = join(next(&mut caller), async {
            tokio::task::yield_now().await;
            send(&other.broker, &direct(), "caller", &[name]).await;
        })
        .await;
        assert_eq!(names(&received), [name]);
    }
    drop(requests);
    other.broker.close().await.expect("could not close");
    send(&f.broker, &fanout(), "", &["nobody listens"]).await;
}
