//! Faults at the worst moment: workers that vanish during a wait or a claim, servers that hang while a consumer closes,
//! and entries that others have left behind.

use std::time::Duration;

use apium_peers::proxy::Proxy;
use apium_peers::redis_server::RedisServer;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_redis::RedisDriver;
use apium_transport::address::Address;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::consumer::{ConsumeSpec, Consumer, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::clock::Clock;
use apium_transport::driver::{Driver as _, DriverOptions};

use crate::kit::{connection, soon};

/// Within this time the messages of a dead consumer are delivered again: the lease of these tests and 5 s (the
/// guarantee takeover).
const BACK: Duration = Duration::from_secs(6);

async fn broker(url: &str, options: &[(&str, &str)]) -> SharedBroker {
    let mut driver_options = DriverOptions::new(Clock::system());
    driver_options.extra = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    RedisDriver::new().broker(Address::parse(url).unwrap(), driver_options).await.unwrap()
}

fn spec(queue: &str) -> ConsumeSpec {
    let mut spec = ConsumeSpec::new(vec![queue.to_owned()], "celery@here".to_owned());
    spec.prefetch = 10;
    spec.lease = Duration::from_secs(1);
    spec
}

fn message(id: &str) -> Outgoing {
    Outgoing::to_queue("q", {
        let mut message = Message::default();
        message.headers = {
            let mut headers = Headers::default();
            headers.id = Some(id.into());
            headers
        };
        message
    })
}

fn id(delivery: &Delivery) -> String {
    match &delivery.content {
        apium_transport::broker::consumer::Content::Message(message) => {
            message.headers.id.as_ref().unwrap().to_string()
        }
        other @ apium_transport::broker::consumer::Content::Unreadable { .. } => panic!("{other:?}"),
    }
}

/// Waits until the reply to `command` is as wanted, for half a minute at most.
async fn until(server: &RedisServer, command: &[&str], pleases: impl Fn(&apium_peers::redis::Value) -> bool) {
    let mut connection = connection(server);
    soon(&format!("{command:?}"), async {
        loop {
            let mut asked = apium_peers::redis::cmd(command[0]);
            asked.arg(&command[1..]);
            if pleases(&asked.query(&mut connection).unwrap()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The ids in `_apium.alive`.
fn alive(server: &RedisServer) -> Vec<String> {
    apium_peers::redis::cmd("ZRANGE").arg("_apium.alive").arg(0).arg(-1).query(&mut connection(server)).unwrap()
}

/// The next message, which must come as soon as one of a dead worker.
async fn next(consumer: &mut Box<dyn Consumer>) -> String {
    let batch =
        tokio::time::timeout(BACK, consumer.next(10)).await.expect("a message within the lease and 5 s").unwrap();
    id(&batch[0])
}

/// A consumer that waits for messages behind a proxy.
async fn idle_behind(
    server: &RedisServer,
    proxy: &Proxy,
    options: &[(&str, &str)],
) -> (SharedBroker, Box<dyn Consumer>) {
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let vanishing = broker(&url, options).await;
    let mut consumer = vanishing.consume(spec("q")).await.unwrap();
    let waits = async { until(server, &["CLIENT", "LIST"], |list| format!("{list:?}").contains("cmd=blmove")).await };
    tokio::select! {
        batch = consumer.next(10) => panic!("{batch:?}"),
        () = waits => {}
    }
    (vanishing, consumer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_outlives_its_consumer_moves_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let (_vanishing, vanished) = idle_behind(&server, &proxy, &[("priority_steps", "[0]")]).await;
    let before = alive(&server);
    // From here on its connections are cut, and its wait goes on in the server.
    proxy.black_hole(true);
    let direct = broker(&server.url(0), &[]).await;
    let mut other = direct.consume(spec("other")).await.unwrap();
    let reclaimed = async {
        until(&server, &["ZSCORE", "_apium.alive", &before[0]], |score| *score == apium_peers::redis::Value::Nil).await
    };
    tokio::select! {
        batch = other.next(10) => panic!("{batch:?}"),
        () = reclaimed => {}
    }
    direct.publish(vec![message("one")]).await.unwrap();
    drop(vanished);
    proxy.cut();
    other.subscribe("q").await.unwrap();
    assert_eq!(next(&mut other).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_comes_after_the_reclaim_gets_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let direct = broker(&server.url(0), &[]).await;
    let slow = broker(&url, &[]).await;
    let mut late = slow.consume(spec("q")).await.unwrap();
    direct.publish(vec![message("one")]).await.unwrap();
    let mut other = direct.consume(spec("other")).await.unwrap();
    let first = alive(&server).into_iter().find(|id| !id.starts_with('!')).unwrap();
    assert_eq!(alive(&server).len(), 2);
    // Its heartbeats are held up, and so is its claim.
    proxy.delay(Duration::from_millis(2500));
    let claim = late.next(10);
    tokio::pin!(claim);
    let in_flight = async {
        until(&server, &["ZSCORE", "_apium.alive", &first], |score| *score == apium_peers::redis::Value::Nil).await
    };
    tokio::select! {
        batch = other.next(10) => panic!("{batch:?}"),
        batch = &mut claim => panic!("{batch:?}"),
        () = in_flight => {}
    }
    // The claim reaches the server, and its consumer is gone before the reply comes.
    until(&server, &["INFO", "commandstats"], |stats| format!("{stats:?}").contains("cmdstat_evalsha")).await;
    let came = async { until(&server, &["LLEN", "q"], |length| *length == apium_peers::redis::Value::Int(0)).await };
    // Without the check it would claim the message; with it nothing happens in that time.
    let _ = tokio::time::timeout(Duration::from_secs(3), async {
        tokio::select! {
            batch = other.next(10) => panic!("{batch:?}"),
            batch = &mut claim => panic!("{batch:?}"),
            () = came => {}
        }
    })
    .await;
    proxy.cut();
    other.subscribe("q").await.unwrap();
    assert_eq!(next(&mut other).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hanging_server_claims_for_a_closing_consumer_comes_back() {
    let server = RedisServer::start();
    let direct = broker(&server.url(0), &[]).await;
    let mut closing = direct.consume(spec("q")).await.unwrap();
    direct.publish(vec![message("first")]).await.unwrap();
    let first = soon("the first message", closing.next(10)).await.unwrap();
    closing.acker().ack(vec![first[0].receipt.clone()]).await.unwrap();
    direct.publish(vec![message("one")]).await.unwrap();
    server.pause();
    // The claim is sent by now.
    assert!(tokio::time::timeout(Duration::from_millis(100), closing.next(10)).await.is_err());
    let closing = closing.close();
    tokio::pin!(closing);
    assert!(tokio::time::timeout(Duration::from_millis(2500), &mut closing).await.is_err(), "nobody answers it");
    server.resume();
    let closed = closing.await;
    assert!(closed.is_err(), "what was on its way is left to others: {closed:?}");
    let other = broker(&server.url(0), &[]).await;
    assert_eq!(next(&mut other.consume(spec("q")).await.unwrap()).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_without_a_message_block_nothing() {
    let server = RedisServer::start();
    let direct = broker(&server.url(0), &[("visibility_timeout", "1")]).await;
    let mut look = connection(&server);
    let mut planted = apium_peers::redis::pipe();
    for number in 0..450 {
        planted.cmd("ZADD").arg("unacked_index").arg(number).arg(format!("nobody-{number}"));
        if number % 3 == 0 {
            // Entries that kombu does not write.
            planted.cmd("HSET").arg("unacked").arg(format!("nobody-{number}")).arg("?");
        }
    }
    let envelope = r#"{"body": "W1tdLCB7fSwge31d", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"id": "one", "task": "t", "lang": "py"}, "properties": {"body_encoding": "base64", "delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "q"}}}"#;
    planted.cmd("ZADD").arg("unacked_index").arg(1000).arg("tag");
    planted.cmd("HSET").arg("unacked").arg("tag").arg(format!(r#"[{envelope}, "", "q"]"#));
    planted.query::<()>(&mut look).unwrap();
    let mut consumer = direct.consume(spec("q")).await.unwrap();
    assert_eq!(next(&mut consumer).await, "one");
    let length: u64 = apium_peers::redis::cmd("HLEN").arg("unacked").query(&mut look).unwrap();
    assert_eq!(length, 151, "what cannot be read is left where it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_type_costs_the_others_nothing() {
    let server = RedisServer::start();
    let direct = broker(&server.url(0), &[]).await;
    let mut look = connection(&server);
    direct.publish(vec![message("one"), message("two")]).await.unwrap();
    let steps = "q\u{6}\u{16}3";
    apium_peers::redis::cmd("SET").arg(steps).arg("no list").query::<()>(&mut look).unwrap();
    let mut consumer = direct.consume(spec("q")).await.unwrap();
    assert_eq!(next(&mut consumer).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_reclaimed_when_the_clock_is_set_forward() {
    let server = RedisServer::start();
    let direct = broker(&server.url(0), &[]).await;
    direct.publish(vec![message("one")]).await.unwrap();
    let mut working = direct.consume(spec("q")).await.unwrap();
    let in_flight = soon("the message", working.next(10)).await.unwrap();
    let first = alive(&server).remove(0);
    let clock = Clock::manual(Clock::system().now());
    let address = Address::parse(&server.url(0)).unwrap();
    let other = RedisDriver::new().broker(address, DriverOptions::new(clock.clone())).await.unwrap();
    let _idle = other.consume(spec("q")).await.unwrap();
    clock.advance(Duration::from_secs(3600));
    // In three leases it sweeps at least once, while the other sends heartbeats.
    let score = |look: &mut apium_peers::redis::Connection| -> Option<f64> {
        apium_peers::redis::cmd("ZSCORE").arg("_apium.alive").arg(&first).query(look).unwrap()
    };
    let mut look = connection(&server);
    let began = score(&mut look).unwrap();
    soon("signs of life", async {
        while score(&mut look).is_some_and(|now| now < began + 3000.0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(score(&mut look).is_some_and(f64::is_finite), "it is being buried");
    working.acker().ack(vec![in_flight[0].receipt.clone()]).await.unwrap();
}
