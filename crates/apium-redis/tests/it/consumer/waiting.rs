//! Waiting for messages: what it costs, whom it wakes, and that no message is lost on the way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use apium_peers::redis::{Commands, Connection, Script, Value, cmd};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use apium_transport::error::ErrorKind;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::brokers::{
    LEASE, ack, blocked, broker, consumer, finish, idle, keys, length, moved, names, receipts, send, spec, take,
    with_priority, without_tracking,
};
use crate::kit::{connection, soon, until};

/// The commands that clients send to a server, line by line, without those inside scripts.
struct Monitor(std::thread::JoinHandle<Vec<String>>);

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let mut listening = connection(server);
        let monitor = cmd("MONITOR").get_packed_command();
        listening.send_packed_command(&monitor).unwrap();
        assert_eq!(listening.recv_response().unwrap(), Value::Okay);
        Self(std::thread::spawn(move || {
            let mut lines = Vec::new();
            loop {
                let Value::SimpleString(line) = listening.recv_response().unwrap() else { continue };
                if line.contains("\"ECHO\" \"enough\"") {
                    return lines;
                }
                if !line.contains(" lua] ") {
                    lines.push(line);
                }
            }
        }))
    }

    fn stop(self, redis: &mut Connection) -> Vec<String> {
        let _: String = cmd("ECHO").arg("enough").query(redis).unwrap();
        self.0.join().unwrap()
    }
}

fn hash(script: &str) -> String {
    Script::new(script).get_hash().to_owned()
}

/// The commands for claiming and settling, out of the lines of a monitor.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    claims: usize,
    settlements: usize,
    /// Waits after a claim of the same consumer. The others follow a wait whose time was up.
    waits: usize,
    /// Commands that belong to none of these, nor to the publisher or to maintenance.
    others: Vec<String>,
}

fn counted(lines: &[String]) -> Sent {
    let claim = hash(concat!(
        include_str!("../../../src/scripts/lua/claim.lua"),
        include_str!("../../../src/scripts/lua/claim_alone.lua")
    ));
    let settle = hash(concat!(
        include_str!("../../../src/scripts/lua/record.lua"),
        include_str!("../../../src/scripts/lua/claim.lua"),
        include_str!("../../../src/scripts/lua/settle.lua")
    ));
    let mut sent = Sent::default();
    let mut claimed: HashMap<String, bool> = HashMap::new();
    for line in lines {
        let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let id_in = |prefix: &str| {
            words.iter().find_map(|word| Some(word.strip_prefix(prefix)?.split('.').next()?.to_owned())).unwrap()
        };
        match words.as_slice() {
            ["EVALSHA", script, ..] if *script == claim => {
                sent.claims += 1;
                claimed.insert(id_in("apium."), true);
            }
            ["EVALSHA", script, ..] if *script == settle => sent.settlements += 1,
            ["BLMOVE", ..] => sent.waits += usize::from(claimed.insert(id_in("_apium.taken."), false) == Some(true)),
            ["LPUSH", "q", ..] | ["ZADD", "_apium.alive" | "unacked_index", ..] | ["ZRANGE", "_apium.alive", ..] => {}
            ["ZRANGEBYSCORE", "unacked_index", ..] | ["ZSCORE", "_apium.alive", ..] => {}
            // A heartbeat in the same millisecond as the one before.
            ["ZMSCORE", "unacked_index", ..] | ["PING", ..] | ["CLIENT", "LIST"] => {}
            _ => sent.others.push(line.clone()),
        }
    }
    sent
}

#[tokio::test]
async fn one_of_fifty_idle_consumers_is_woken_and_three_commands_are_sent() {
    const MESSAGES: usize = 200;
    let server = RedisServer::start();
    let mut redis = connection(&server);
    // Five processes with ten consumers each.
    let brokers: Vec<RedisBroker> = (0..5).map(|_| broker(&server.url(0))).collect();
    let mut consumers = Vec::new();
    for broker in brokers.iter().flat_map(|broker| std::iter::repeat_n(broker, 10)) {
        let mut lasting = spec(&["q"]);
        lasting.lease = Duration::from_secs(30);
        consumers.push(soon("a consumer", broker.consume(lasting)).await.unwrap());
    }
    let (sender, mut received) = mpsc::channel::<usize>(1);
    let work = consumers.into_iter().enumerate().map(|(place, mut consumer)| {
        let sender = sender.clone();
        async move {
            loop {
                let batch = consumer.next(10).await.unwrap();
                assert_eq!(batch.len(), 1);
                ack(&*consumer, &batch).await;
                sender.send(place).await.unwrap();
            }
        }
    });
    let publish = async {
        until("all waits", || blocked(&mut redis) == 50).await;
        // From here on the server knows every script.
        send(&brokers[0], "q", &["first"]).await;
        soon("the first", received.recv()).await.unwrap();
        until("all waits", || blocked(&mut redis) == 50).await;
        let monitor = Monitor::start(&server);
        let mut by_whom = vec![0; 50];
        for n in 0..MESSAGES {
            send(&brokers[n % 5], "q", &[&n.to_string()]).await;
            by_whom[soon("a message", received.recv()).await.unwrap()] += 1;
        }
        until("all waits", || blocked(&mut redis) == 50).await;
        (monitor.stop(&mut redis), by_whom)
    };
    let (lines, by_whom) = tokio::select! {
        _ = join_all(work) => unreachable!("they work for ever"),
        found = publish => found,
    };
    let sent = counted(&lines);
    assert_eq!(sent, Sent { claims: MESSAGES, settlements: MESSAGES, waits: MESSAGES, others: vec![] });
    // The server wakes the one that has waited longest, so every consumer gets some.
    assert_eq!(by_whom, vec![MESSAGES / 50; 50]);
}

#[tokio::test]
async fn ten_queues_with_four_steps_each_are_all_served() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let queues: Vec<String> = (0..10).map(|n| format!("q{n}")).collect();
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    let mut consumer = soon("a consumer", broker.consume(spec(&queues))).await.unwrap();
    for (at, queue) in queues.iter().enumerate() {
        for priority in [9, 0, 6, 3] {
            idle(&mut consumer, &mut redis, 1).await;
            let name = format!("{queue} {priority}");
            soon("publishing", broker.publish(vec![with_priority(queue, &name, priority)])).await.unwrap();
            let batch = take(&mut consumer, 1).await;
            assert_eq!((names(&batch), &*batch[0].queue), (vec![name], *queue));
            ack(&*consumer, &batch).await;
            if at % 3 > 0 {
                break;
            }
        }
    }
    // A burst to all of them at once.
    idle(&mut consumer, &mut redis, 1).await;
    let all = queues.iter().flat_map(|queue| [0, 3, 6, 9].map(|priority| with_priority(queue, "m", priority)));
    soon("publishing", broker.publish(all.collect())).await.unwrap();
    let batch = take(&mut consumer, 40).await;
    ack(&*consumer, &batch).await;
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
    assert_eq!(moved(&mut redis), Vec::<String>::new());
}

/// A consumer for which the server has moved a message to a handoff list, without the consumer knowing it yet.
async fn with_moved(broker: &RedisBroker, redis: &mut Connection) -> Box<dyn Consumer> {
    let mut waiting = consumer(broker, "q").await;
    idle(&mut waiting, redis, 1).await;
    send(broker, "q", &["m"]).await;
    until("the move", || moved(redis).len() == 1).await;
    assert_eq!((length(redis, "q"), keys(redis, "unacked*")), (0, vec![]));
    waiting
}

#[tokio::test]
async fn a_message_moved_for_a_dead_consumer_goes_to_another() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let dead = with_moved(&one, &mut redis).await;
    let mut living = consumer(&other, "q").await;
    drop(dead);
    drop(one);
    let began = Instant::now();
    finish(&mut living, &["m"]).await;
    assert!(began.elapsed() < LEASE + Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(moved(&mut redis), Vec::<String>::new());
}

#[tokio::test]
async fn a_message_moved_for_a_closing_consumer_is_returned_at_once() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let closing = with_moved(&broker, &mut redis).await;
    soon("closing", closing.close()).await.unwrap();
    assert_eq!((length(&mut redis, "q"), moved(&mut redis)), (1, vec![]));
    assert_eq!(keys(&mut redis, "_apium.alive"), Vec::<String>::new());
}

#[tokio::test]
async fn a_full_consumer_cancels_its_waits_and_returns_what_they_moved() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (broker(&without_tracking(&server)), broker(&server.url(0)));
    let mut spec = spec(&["q"]);
    spec.prefetch = 1;
    let mut full = soon("a consumer", one.consume(spec)).await.unwrap();
    idle(&mut full, &mut redis, 4).await;
    // One for each wait: all are moved before the consumer gets the first reply.
    let batch = [9, 6, 3, 0].map(|priority| with_priority("q", &priority.to_string(), priority));
    soon("publishing", other.publish(batch.to_vec())).await.unwrap();
    until("the moves", || moved(&mut redis).len() == 4).await;
    let in_flight = take(&mut full, 1).await;
    let mut free = consumer(&one, "q").await;
    let more = async {
        let more = full.next(1).await;
        panic!("it is full and took {more:?}");
    };
    let others = async {
        let began = Instant::now();
        let others = take(&mut free, 3).await;
        assert!(began.elapsed() < LEASE, "they were not given back at once: {:?}", began.elapsed());
        assert!(others.iter().all(|delivery| !delivery.redelivered));
        // From now on it does not wait, and other consumers get what comes.
        until("the end of its waits", || blocked(&mut redis) == 0).await;
        others
    };
    let others = tokio::select! { () = more => unreachable!(), others = others => others };
    let mut all: Vec<String> = names(&in_flight).into_iter().chain(names(&others)).collect();
    all.sort();
    assert_eq!(all, ["0", "3", "6", "9"]);
    // With free prefetch it waits again.
    ack(&*full, &in_flight).await;
    ack(&*free, &others).await;
    soon("closing", free.close()).await.unwrap();
    idle(&mut full, &mut redis, 4).await;
    send(&other, "q", &["next"]).await;
    finish(&mut full, &["next"]).await;
}

fn ids(redis: &mut Connection) -> Vec<String> {
    redis.zrange("_apium.alive", 0, -1).unwrap()
}

/// Others take the consumer for dead. Waits until it is registered again.
async fn lapse(redis: &mut Connection) {
    let [old] = ids(redis).try_into().unwrap();
    let () = redis.zrem("_apium.alive", &old).unwrap();
    until("a new id", || ids(redis).len() == 1 && ids(redis) != [old.clone()]).await;
}

#[tokio::test]
async fn a_consumer_that_was_taken_for_dead_gets_a_new_id() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut lapsed = consumer(&broker, "q").await;
    send(&broker, "q", &["held", "ready"]).await;
    let in_flight = take(&mut lapsed, 1).await;
    lapse(&mut redis).await;
    until("what it held", || keys(&mut redis, "unacked*").is_empty()).await;
    let error = soon("an ack", lapsed.acker().ack(receipts(&in_flight))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    // What it had in flight is in front again, and redelivered.
    let redelivered = take(&mut lapsed, 2).await;
    assert_eq!(names(&redelivered), ["held", "ready"]);
    assert_eq!(redelivered.iter().map(|delivery| delivery.redelivered).collect::<Vec<_>>(), [true, false]);
    ack(&*lapsed, &redelivered).await;
    assert_eq!(redis.hlen::<_, usize>("_apium.consumers").unwrap(), 1, "the old one is gone");
}

#[tokio::test]
async fn a_message_moved_under_the_old_id_is_not_lost() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut lapsed = with_moved(&broker, &mut redis).await;
    lapse(&mut redis).await;
    finish(&mut lapsed, &["m"]).await;
    // Its waits move messages to the handoff lists of the new id.
    idle(&mut lapsed, &mut redis, 1).await;
    send(&broker, "q", &["n"]).await;
    until("the move", || moved(&mut redis).len() == 1).await;
    let [id] = ids(&mut redis).try_into().unwrap();
    assert!(moved(&mut redis)[0].contains(&id));
    finish(&mut lapsed, &["n"]).await;
}

/// A consumer that was stopped for longer than its lease goes on as if nothing had happened: that others closed its
/// handoff lists is no error of a key.
#[tokio::test]
async fn a_wait_of_a_consumer_that_was_taken_for_dead_is_no_error() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    // It sends no heartbeat before its wait ends.
    let mut long = spec(&["q"]);
    long.lease = Duration::from_secs(60);
    let mut lapsed = soon("a consumer", broker.consume(long)).await.unwrap();
    idle(&mut lapsed, &mut redis, 1).await;
    let [old] = ids(&mut redis).try_into().unwrap();
    let () = redis.zadd("_apium.alive", &old, 1).unwrap();
    let sweeping = consumer(&broker, "other").await;
    until("the end of the old registration", || !ids(&mut redis).contains(&old)).await;
    send(&broker, "q", &["m"]).await;
    let batch = soon("a message", lapsed.next(1)).await.unwrap();
    assert_eq!(names(&batch), ["m"]);
    ack(&*lapsed, &batch).await;
    soon("closing", sweeping.close()).await.unwrap();
}
