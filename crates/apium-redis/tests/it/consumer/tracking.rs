//! Few connections: however many queues a consumer has, it waits on one connection, is woken by every way in which a
//! message can come, and costs the server little when many of them are idle.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apium_peers::redis::{Connection, Value, cmd, pipe};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::brokers::{
    ack, blocked, broker, broker_with, consumer, finish, idle, length, moved, send, spec, take, with_priority,
    without_tracking,
};
use crate::kit::{calls, connection, soon, until};

/// The other clients of the server, line by line.
fn clients(redis: &mut Connection) -> Vec<String> {
    let own: i64 = cmd("CLIENT").arg("ID").query(redis).unwrap();
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    list.lines().filter(|line| !line.starts_with(&format!("id={own} "))).map(str::to_owned).collect()
}

/// A number in the answer to INFO.
fn info(redis: &mut Connection, name: &str) -> usize {
    let text: String = cmd("INFO").arg("everything").query(redis).unwrap();
    text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).map_or(0, |number| number.parse().unwrap())
}

fn queues(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("q{n}")).collect()
}

async fn consumer_of(broker: &RedisBroker, count: usize) -> Box<dyn Consumer> {
    let queues = queues(count);
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    soon("a consumer", broker.consume(spec(&queues))).await.unwrap()
}

/// The list of a priority step.
fn step(queue: &str, step: u8) -> String {
    format!("{queue}\u{6}\u{16}{step}")
}

/// A message as it lies in a list.
async fn envelope(broker: &RedisBroker, redis: &mut Connection, name: &str) -> Vec<u8> {
    send(broker, "elsewhere", &[name]).await;
    cmd("RPOP").arg("elsewhere").query(redis).unwrap()
}

#[tokio::test]
async fn a_consumer_has_four_connections_whether_it_has_one_queue_or_ten() {
    for count in [1, 10] {
        let server = RedisServer::start();
        let mut redis = connection(&server);
        let broker = broker(&server.url(0));
        let mut waiting = consumer_of(&broker, count).await;
        idle(&mut waiting, &mut redis, 1).await;
        until("the subscriptions", || clients(&mut redis).iter().any(|line| !line.contains(" sub=0 "))).await;
        let all = clients(&mut redis);
        assert_eq!(all.len(), 4, "{count} queues: {all:#?}");
        // One list is blocked on, and the server tracks the others.
        assert_eq!((blocked(&mut redis), info(&mut redis, "tracking_total_items")), (1, count * 4 - 1));
    }
}

#[tokio::test]
async fn whatever_puts_a_message_into_a_list_wakes_the_consumer() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = consumer_of(&broker, 3).await;
    let list = step("q2", 6);
    for way in ["LPUSH", "RPUSH", "LMOVE", "MULTI", "EVAL", "RENAME", "RESTORE"] {
        // It blocks on this list, so another list's message comes by tracking.
        send(&broker, "q0", &["before"]).await;
        finish(&mut waiting, &["before"]).await;
        idle(&mut waiting, &mut redis, 1).await;
        until("tracking", || info(&mut redis, "tracking_total_items") >= 11).await;
        let envelope = envelope(&broker, &mut redis, way).await;
        let mut sent = pipe();
        match way {
            "LPUSH" | "RPUSH" => sent.cmd(way).arg(&list).arg(envelope),
            "MULTI" => sent.atomic().cmd("LPUSH").arg(&list).arg(envelope),
            "EVAL" => sent.cmd(way).arg("return redis.call('LPUSH', KEYS[1], ARGV[1])").arg(1).arg(&list).arg(envelope),
            "LMOVE" => {
                sent.cmd("LPUSH").arg("x").arg(envelope);
                sent.cmd(way).arg("x").arg(&list).arg("LEFT").arg("RIGHT")
            }
            "RENAME" => sent.cmd("LPUSH").arg("x").arg(envelope).cmd(way).arg("x").arg(&list),
            _ => {
                let () = cmd("LPUSH").arg("x").arg(envelope).query(&mut redis).unwrap();
                let dump: Vec<u8> = cmd("DUMP").arg("x").query(&mut redis).unwrap();
                sent.cmd(way).arg(&list).arg(0).arg(dump)
            }
        };
        let _: Value = sent.query(&mut redis).unwrap();
        finish(&mut waiting, &[way]).await;
    }
}

#[tokio::test]
async fn a_consumer_waits_on_every_list_after_the_server_lost_its_data() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = consumer_of(&broker, 2).await;
    idle(&mut waiting, &mut redis, 1).await;
    let () = cmd("FLUSHALL").query(&mut redis).unwrap();
    for (queue, priority) in [("q1", 9), ("q0", 6), ("q0", 0)] {
        soon("publishing", broker.publish(vec![with_priority(queue, "m", priority)])).await.unwrap();
        finish(&mut waiting, &["m"]).await;
    }
}

#[tokio::test]
async fn a_full_consumer_takes_nothing_from_the_lists_that_the_server_tracks() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let mut spec = spec(&["q", "r"]);
    spec.prefetch = 1;
    let mut full = soon("a consumer", one.consume(spec)).await.unwrap();
    idle(&mut full, &mut redis, 1).await;
    send(&other, "r", &["first"]).await;
    let in_flight = take(&mut full, 1).await;
    let more = async {
        let more = full.next(1).await;
        panic!("it is full and took {more:?}");
    };
    let others = async {
        until("the end of its wait", || blocked(&mut redis) == 0).await;
        let mut free = consumer(&other, "q").await;
        for priority in [9, 0, 3] {
            soon("publishing", other.publish(vec![with_priority("q", "next", priority)])).await.unwrap();
            finish(&mut free, &["next"]).await;
        }
        soon("closing", free.close()).await.unwrap();
    };
    tokio::select! { () = more => unreachable!(), () = others => {} }
    send(&other, "q", &["last"]).await;
    ack(&*full, &in_flight).await;
    finish(&mut full, &["last"]).await;
    // Paused, it takes nothing either.
    soon("pausing", full.pause()).await.unwrap();
    soon("publishing", other.publish(vec![with_priority("r", "m", 9)])).await.unwrap();
    assert_eq!((length(&mut redis, &step("r", 9)), moved(&mut redis)), (1, vec![]));
    finish(&mut full, &["m"]).await;
}

#[tokio::test]
async fn messages_keep_their_order_of_priority() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = consumer_of(&broker, 2).await;
    // It blocks on the list with the lowest priority.
    soon("publishing", broker.publish(vec![with_priority("q1", "m", 9)])).await.unwrap();
    finish(&mut waiting, &["m"]).await;
    idle(&mut waiting, &mut redis, 1).await;
    let all = [("q0", 9), ("q1", 6), ("q1", 0), ("q0", 3)]
        .map(|(queue, priority)| with_priority(queue, &format!("{queue} {priority}"), priority));
    soon("publishing", broker.publish(all.to_vec())).await.unwrap();
    finish(&mut waiting, &["q1 0", "q0 3", "q1 6", "q0 9"]).await;
}

/// What a consumer of many queues costs: runs `count` idle consumers of ten queues in several brokers, and publishes to
/// queues in turn. Returns the waking times, sorted, and the commands of each kind for one message.
async fn herd(count: usize, messages: usize) -> (Vec<Duration>, Vec<(&'static str, f64)>) {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let brokers: Vec<RedisBroker> = (0..count.div_ceil(20)).map(|_| broker(&server.url(0))).collect();
    let names = queues(10);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut consumers = Vec::new();
    for n in 0..count {
        let mut lasting = spec(&names);
        lasting.lease = Duration::from_secs(30);
        consumers.push(soon("a consumer", brokers[n % brokers.len()].consume(lasting)).await.unwrap());
    }
    let (sender, mut received) = mpsc::channel::<Instant>(1);
    let work = consumers.into_iter().map(|mut consumer| {
        let sender = sender.clone();
        async move {
            loop {
                let batch = consumer.next(10).await.unwrap();
                let at = Instant::now();
                assert_eq!(batch.len(), 1);
                ack(&*consumer, &batch).await;
                sender.send(at).await.unwrap();
            }
        }
    });
    // Each list is tracked or blocked on, and one of them may be both.
    let everything_waits = |redis: &mut Connection| info(redis, "tracking_total_items") + blocked(redis) >= count * 40;
    let publish = async {
        until("all waits", || everything_waits(&mut redis)).await;
        let mut woken = Vec::new();
        let mut before = None;
        for n in 0..messages + 2 {
            if n == 2 {
                // From here on the server knows every script.
                before = Some(calls(&mut redis));
            }
            let began = Instant::now();
            send(&brokers[0], names[n % 10], &["m"]).await;
            let at = soon("a message", received.recv()).await.unwrap();
            if n >= 2 {
                woken.push(at.saturating_duration_since(began));
            }
            until("all waits", || everything_waits(&mut redis)).await;
        }
        let after = calls(&mut redis);
        woken.sort();
        let kinds = ["evalsha", "exists", "blmove", "client|unblock", "zcard"];
        let before = before.unwrap();
        let grown = kinds.map(|kind| {
            let calls =
                |all: &[(String, u64)]| all.iter().find(|(name, _)| name == kind).map_or(0, |(_, calls)| *calls);
            (kind, (calls(&after) - calls(&before)) as f64 / messages as f64)
        });
        (woken, grown.to_vec())
    };
    tokio::select! {
        _ = join_all(work) => unreachable!("they work for ever"),
        found = publish => found,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_wakes_few_of_many_idle_consumers_of_ten_queues_and_soon() {
    for (count, messages) in [(1, 100), (10, 100), (100, 50)] {
        let (woken, commands) = herd(count, messages).await;
        let (median, nearly_all) = (woken[woken.len() / 2], woken[woken.len() * 95 / 100]);
        println!("{count} idle consumers: woken after {median:?}, p95 {nearly_all:?}; for one message {commands:?}");
        let of = |kind: &str| commands.iter().find(|(name, _)| *name == kind).unwrap().1;
        // A settlement, and claims: about two of the consumers act at once, and some look before the first has claimed.
        assert!(of("evalsha") < 14.0, "{count} idle consumers: {commands:?}");
        assert!(of("exists") <= 1.5 * count as f64 + 1.0, "{count} idle consumers: {commands:?}");
        assert!(nearly_all < Duration::from_millis(100), "{count} idle consumers: {woken:?}");
    }
}

/// The warnings of this thread.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!("{field}={value:?} "));
        });
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_server_that_does_not_track_lists_is_served_by_one_connection_for_each_list() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let warnings = Warnings::default();
    let _collecting = tracing::subscriber::set_default(warnings.clone());
    for (broker, said) in
        [(broker(&without_tracking(&server)), 1), (broker_with(&server.url(0), &[("client_tracking", "false")]), 0)]
    {
        let mut waiting = consumer_of(&broker, 10).await;
        idle(&mut waiting, &mut redis, 40).await;
        assert_eq!(clients(&mut redis).iter().filter(|line| line.contains(" sub=0 ")).count(), 42);
        for (queue, priority) in [("q9", 9), ("q3", 0)] {
            soon("publishing", broker.publish(vec![with_priority(queue, "m", priority)])).await.unwrap();
            finish(&mut waiting, &["m"]).await;
            idle(&mut waiting, &mut redis, 40).await;
        }
        soon("closing", waiting.close()).await.unwrap();
        // A second consumer does not say it again.
        let mut other = consumer_of(&broker, 1).await;
        idle(&mut other, &mut redis, 4).await;
        soon("closing", other.close()).await.unwrap();
        broker.close().await.unwrap();
        drop(broker);
        until("the end of all connections", || clients(&mut redis).is_empty()).await;
        let all = std::mem::take(&mut *warnings.0.lock().unwrap());
        assert_eq!(all.len(), said, "{all:?}");
        assert!(all.iter().all(|text| text.contains("CLIENT TRACKING") && text.contains("client|tracking")), "{all:?}");
    }
}

#[tokio::test]
async fn a_server_with_a_password_tracks_lists() {
    let server = RedisServer::builder().password("hunter2").start();
    let client = apium_peers::redis::Client::open(format!("redis://:hunter2@127.0.0.1:{}/3", server.port())).unwrap();
    let mut redis = client.get_connection().unwrap();
    let broker = broker(&format!("redis://:hunter2@127.0.0.1:{}/3", server.port()));
    let mut waiting = consumer_of(&broker, 2).await;
    idle(&mut waiting, &mut redis, 1).await;
    assert_eq!((blocked(&mut redis), info(&mut redis, "tracking_total_items")), (1, 7));
    soon("publishing", broker.publish(vec![with_priority("q1", "m", 9)])).await.unwrap();
    finish(&mut waiting, &["m"]).await;
}
