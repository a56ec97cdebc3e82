//! Connections that break or fall silent, and servers that go and come back: nothing is lost, and everything goes on by
//! itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Connection, Value, cmd};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use tokio::task::JoinSet;

use crate::brokers::{
    LEASE, ack, broker, broker_with, consumer, finish, idle, keys, length, message, moved, names, send,
    send_in_the_end, spec, take, to, with_short_timeout,
};
use crate::kit::{connection, soon, until};

fn through(proxy: &Proxy) -> RedisBroker {
    with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()))
}

/// Receives until the message with this name comes. Acks all that come.
async fn take_named(consumer: &mut Box<dyn Consumer>, name: &str) {
    loop {
        let batch = take(consumer, 1).await;
        ack(&**consumer, &batch).await;
        if names(&batch) == [name] {
            return;
        }
    }
}

#[tokio::test]
async fn a_server_that_comes_back_with_everything() {
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let broker = with_short_timeout(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let in_flight = take(&mut consumer, 1).await;
    server.restart();
    // What the consumer has in flight is still its own, and the ready messages are there.
    ack(&*consumer, &in_flight).await;
    finish(&mut consumer, &["b"]).await;
    send_in_the_end(&broker, "q", "c").await;
    finish(&mut consumer, &["c"]).await;
    assert_eq!(keys(&mut connection(&server), "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_comes_back_empty() {
    let server = RedisServer::start();
    let broker = with_short_timeout(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    let in_flight = take(&mut consumer, 1).await;
    server.restart();
    send_in_the_end(&broker, "q", "b").await;
    finish(&mut consumer, &["b"]).await;
    // The consumer is registered again, so that others would find its messages, and the queue is bound.
    let mut redis = connection(&server);
    until("a registration", || keys(&mut redis, "_apium.*").contains(&"_apium.alive".to_owned())).await;
    ack(&*consumer, &in_flight).await;
    send(&broker, "q", &["c"]).await;
    finish(&mut consumer, &["c"]).await;
}

/// The ids of connections, by what they do.
fn clients(redis: &mut Connection) -> Vec<(i64, String)> {
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|part| part.strip_prefix(name).map(str::to_owned)).unwrap_or_default()
    };
    let own: i64 = cmd("CLIENT").arg("ID").query(redis).unwrap();
    let all = list.lines().map(|line| {
        let kind = match (field(line, "cmd="), field(line, "sub=")) {
            (_, subscriptions) if subscriptions != "0" => "subscriptions",
            (command, _) if command == "blmove" => "wait",
            _ => "commands",
        };
        (field(line, "id=").parse().unwrap(), kind.to_owned())
    });
    all.filter(|(id, _)| *id != own).collect()
}

#[tokio::test]
async fn every_kind_of_connection_may_be_killed() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = consumer(&broker, "q").await;
    for kind in ["wait", "commands", "subscriptions", "wait", "commands"] {
        idle(&mut waiting, &mut redis, 1).await;
        until("the subscriptions", || clients(&mut redis).iter().any(|(_, other)| other == "subscriptions")).await;
        let killed: Vec<i64> =
            clients(&mut redis).into_iter().filter(|(_, other)| other == kind).map(|(id, _)| id).collect();
        assert!(!killed.is_empty(), "{kind}");
        for id in &killed {
            let _: Value = cmd("CLIENT").arg("KILL").arg("ID").arg(*id).query(&mut redis).unwrap();
        }
        send_in_the_end(&broker, "q", kind).await;
        take_named(&mut waiting, kind).await;
        // There is a new connection of each kind.
        idle(&mut waiting, &mut redis, 1).await;
        until("all of them", || {
            let all = clients(&mut redis);
            ["wait", "commands", "subscriptions"].iter().all(|kind| all.iter().any(|(_, other)| other == kind))
        })
        .await;
        assert!(clients(&mut redis).iter().all(|(id, _)| !killed.contains(id)));
    }
}

#[tokio::test]
async fn a_delayed_message_comes_although_the_subscription_broke() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let park = crate::brokers::broker_with(&server.url(0), &[("eta_strategy", "park")]);
    let mut waiting = consumer(&park, "q").await;
    until("the subscriptions", || clients(&mut redis).iter().any(|(_, kind)| kind == "subscriptions")).await;
    let soon_due = || apium_transport::clock::Clock::system().now().saturating_add(Duration::from_millis(200)).ok();
    // Nobody is subscribed when the eta is announced.
    let mut lost = apium_peers::redis::pipe();
    lost.cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub");
    let _: Value = lost.query(&mut redis).unwrap();
    park.publish(vec![to("q", "parked").at(soon_due())]).await.unwrap();
    finish(&mut waiting, &["parked"]).await;
}

#[tokio::test]
async fn scripts_may_be_forgotten_at_any_time() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    for round in 0..20 {
        let flush = |redis: &mut Connection| {
            let () = cmd("SCRIPT").arg("FLUSH").query(redis).unwrap();
        };
        let name = round.to_string();
        flush(&mut redis);
        send(&broker, "q", &[&name]).await;
        flush(&mut redis);
        let batch = take(&mut consumer, 1).await;
        assert_eq!(names(&batch), [name]);
        flush(&mut redis);
        ack(&*consumer, &batch).await;
    }
    assert_eq!(keys(&mut redis, "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_was_paused() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (one, other) = (with_short_timeout(&server.url(0)), with_short_timeout(&server.url(0)));
    let (mut holder, mut waiting) = (consumer(&one, "q").await, consumer(&other, "q").await);
    send(&one, "q", &["a"]).await;
    let in_flight = take(&mut holder, 1).await;
    idle(&mut waiting, &mut redis, 1).await;
    let ids = keys(&mut redis, "_apium.alive");
    server.pause();
    let began = Instant::now();
    let error = soon("the end of the timeout", one.publish(vec![to("q", "b")])).await.unwrap_err();
    assert!(error.is_connection() && format!("{error:#}").contains("no answer within 500ms"), "{error:#}");
    assert!(began.elapsed() < Duration::from_secs(5));
    until("more than the lease", || began.elapsed() > LEASE * 2).await;
    server.resume();
    // Nobody was taken for dead: what is in flight is not given to the other, and b, which the server may have
    // received, comes.
    send_in_the_end(&one, "q", "c").await;
    take_named(&mut waiting, "c").await;
    ack(&*holder, &in_flight).await;
    assert_eq!(keys(&mut redis, "_apium.alive"), ids);
    soon("closing", waiting.close()).await.unwrap();
    soon("closing", holder.close()).await.unwrap();
    assert_eq!((length(&mut redis, "q"), keys(&mut redis, "unacked*")), (0, vec![]));
}

#[tokio::test]
async fn a_black_hole_for_commands() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let broker = through(&proxy);
    send(&broker, "q", &["a"]).await;
    proxy.black_hole(true);
    let began = Instant::now();
    for _ in 0..3 {
        let error = soon("an error", broker.publish(vec![to("q", "b")])).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    proxy.black_hole(false);
    send_in_the_end(&broker, "q", "c").await;
    finish(&mut consumer(&broker, "q").await, &["a", "c"]).await;
}

#[tokio::test]
async fn a_black_hole_for_waits_and_subscriptions() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (proxy, direct) = (Proxy::to(server.port()), broker(&server.url(0)));
    let far = through(&proxy);
    let mut waiting = consumer(&far, "q").await;
    idle(&mut waiting, &mut redis, 1).await;
    proxy.black_hole(true);
    // The server moves it for the wait, but the reply is lost.
    send(&direct, "q", &["m"]).await;
    until("the move", || moved(&mut redis).len() == 1).await;
    let accepted = proxy.accepted();
    let noticed = async {
        loop {
            match waiting.next(1).await {
                Ok(batch) => panic!("it heard of {batch:?}"),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    tokio::select! {
        () = noticed => {}
        () = until("other connections", || proxy.accepted() > accepted + 4) => {}
    }
    proxy.black_hole(false);
    finish(&mut waiting, &["m"]).await;
}

#[tokio::test]
async fn messages_of_a_cut_off_consumer_come_to_others_as_redelivered() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (proxy, direct) = (Proxy::to(server.port()), broker(&server.url(0)));
    let far = through(&proxy);
    let mut lost = consumer(&far, "q").await;
    send(&direct, "q", &["m"]).await;
    let in_flight = take(&mut lost, 1).await;
    let mut other = consumer(&direct, "q").await;
    proxy.black_hole(true);
    let began = Instant::now();
    let redelivered = take(&mut other, 1).await;
    assert!(began.elapsed() < LEASE + Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(redelivered[0].redelivered && message(&redelivered[0]).body == message(&in_flight[0]).body);
    proxy.black_hole(false);
    // An ack without a reply may have been done all the same, so it is sent only when the consumer is connected again.
    let connected = async { while far.queues().unwrap().counts().unwrap().stats().await.is_err() {} };
    soon("the connection", connected).await;
    // The consumer that was cut off comes back, finds out, and goes on.
    let error = soon("the old receipt", async {
        loop {
            match lost.acker().ack(vec![in_flight[0].receipt.clone()]).await {
                Err(error) if error.is_retryable() => {}
                Err(error) => break error,
                Ok(()) => panic!("what is another's was acked"),
            }
        }
    });
    assert_eq!(error.await.kind(), apium_transport::error::ErrorKind::LeaseLost);
    ack(&*other, &redelivered).await;
    soon("closing", other.close()).await.unwrap();
    send(&direct, "q", &["n"]).await;
    finish(&mut lost, &["n"]).await;
    assert_eq!(length(&mut redis, "q"), 0);
}

#[tokio::test]
async fn many_cuts_lose_nothing() {
    let server = RedisServer::start();
    let (proxy, direct) = (Proxy::to(server.port()), broker(&server.url(0)));
    let far = through(&proxy);
    let mut reader = soon("a consumer", far.consume(spec(&["q"]))).await.unwrap();
    let wanted: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (round, names_of) in wanted.chunks(10).enumerate() {
        let names_of: Vec<&str> = names_of.iter().map(String::as_str).collect();
        send(&direct, "q", &names_of).await;
        if round % 2 == 0 {
            proxy.cut();
        }
        let before = seen.len();
        soon("some of them", async {
            while seen.len() == before {
                if let Ok(batch) = reader.next(4).await {
                    seen.extend(names(&batch));
                    if round % 3 == 0 {
                        proxy.cut();
                    }
                    ack(&*reader, &batch).await;
                }
            }
        })
        .await;
    }
    soon("all of them", async {
        while seen.len() < wanted.len() {
            if let Ok(batch) = reader.next(50).await {
                seen.extend(names(&batch));
                ack(&*reader, &batch).await;
            }
        }
    })
    .await;
    let mut redis = connection(&server);
    until("the end of everything", || keys(&mut redis, "unacked*").is_empty() && length(&mut redis, "q") == 0).await;
}

/// A command that is handed to a connection in the moment in which it breaks is a command on a broken connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_command_waits_for_its_deadline_when_its_connection_breaks() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let mut sending = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..8 {
        let broker: RedisBroker = broker_with(&url, &[("socket_timeout", "300")]);
        let ended = Arc::new(AtomicUsize::new(0));
        senders.push(ended.clone());
        sending.spawn(async move {
            loop {
                // It may fail: its connection may be cut.
                let _ = broker.publish(vec![to("q", "m")]).await;
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for cut in 0..400 {
        proxy.cut();
        let before: Vec<usize> = senders.iter().map(|ended| ended.load(Ordering::SeqCst)).collect();
        let goes_on = || senders.iter().zip(&before).all(|(ended, before)| ended.load(Ordering::SeqCst) > *before);
        until(&format!("an answer to each command after cut {cut}"), goes_on).await;
    }
}
