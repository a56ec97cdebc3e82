//! Lost connections, stopped servers and full disks.

use std::time::Duration;

use apium_peers::proxy::Proxy;
use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_transport::broker::broker::Broker;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::fleet::{FleetLimits, FleetTopic};
use apium_transport::broker::settlement::Disposition;
use apium_transport::clock::Clock;
use apium_transport::error::ErrorKind;
use apium_transport::health::Health;

use crate::kit::{consumer, names, open, receipts, send, soon, take, to, until};

/// A broker behind a proxy whose connections can be cut.
fn behind_proxy(name: &str) -> (apium_amqp::AmqpBroker, Proxy) {
    let proxy = Proxy::to(RabbitmqServer::shared().port());
    let url = format!("amqp://guest:guest@127.0.0.1:{}/{name}", proxy.port());
    (open(&url, &[]).unwrap(), proxy)
}

/// The message of a run that goes on while the connection is cut comes again, and is not run again: the run takes it
/// over, and its ack counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_over_a_cut() {
    let vhost = fresh_vhost();
    let (broker, proxy) = behind_proxy(&vhost.name);
    send(&broker, "q", &["a", "b", "c"]).await;
    let mut reader = consumer(&broker, "q", 3).await;
    let got = take(&mut reader, 3).await;
    proxy.cut();
    // The run of `a` ends while nobody can tell the server, that of `b` after it came again.
    reader.acker().ack(receipts(&got[..1])).await.unwrap();
    // Past the proxy: a publish on the connection that was cut may fail.
    send(&open(&vhost.url, &[]).unwrap(), "q", &["d"]).await;
    let next = take(&mut reader, 1).await;
    assert_eq!(names(&next), ["d"], "only what is new is handed out");
    reader.acker().ack(receipts(&got[1..2])).await.unwrap();
    reader.acker().reject(vec![(receipts(&got[2..])[0].clone(), Disposition::Discard)]).await.unwrap();
    reader.acker().ack(receipts(&next)).await.unwrap();
    reader.close().await.unwrap();
    assert_eq!(broker.queues().unwrap().depth("q").await.unwrap(), 0, "all are settled, once");
}

/// A message that waited in the queues of delays, and one that was replayed, have the id of the message that was
/// settled for them. They come again, since a worker died that had them, to the consumer that has settled that one; and
/// its connection was cut, so it looks for what it had settled. They are run all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_took_the_place_of_a_message_is_not_taken_for_it() {
    let vhost = fresh_vhost();
    let (broker, proxy) = behind_proxy(&vhost.name);
    send(&broker, "q", &["dead", "delayed"]).await;
    let mut reader = consumer(&broker, "q", 2).await;
    let got = receipts(&take(&mut reader, 2).await);
    // What comes now is for the other one.
    reader.pause().await.unwrap();
    let soon = Clock::system().now().checked_add(Duration::from_millis(200)).unwrap();
    let reason = DeadReason::new("test", "to be replayed".to_owned());
    let (dead, delayed) = ((got[0].clone(), Disposition::Dead(reason)), (got[1].clone(), Disposition::Delay(soon)));
    reader.acker().reject(vec![dead, delayed]).await.unwrap();
    let letters = broker.dead().unwrap().list(0, 10).await.unwrap();
    broker.dead().unwrap().replay(letters.iter().map(|letter| letter.key).collect()).await.unwrap();
    let other = open(&vhost.url, &[]).unwrap();
    let mut victim = consumer(&other, "q", 2).await;
    let mut had = names(&take(&mut victim, 2).await);
    had.sort();
    assert_eq!(had, ["dead", "delayed"]);
    drop((victim, other));
    proxy.cut();
    let again = take(&mut reader, 2).await;
    let mut names = names(&again);
    names.sort();
    assert_eq!(names, ["dead", "delayed"]);
    reader.acker().ack(receipts(&again)).await.unwrap();
    reader.close().await.unwrap();
}

/// A consumer that waits consumes again after each cut, and a publisher publishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_on_after_cuts() {
    let vhost = fresh_vhost();
    let (broker, proxy) = behind_proxy(&vhost.name);
    let mut reader = consumer(&broker, "q", 10).await;
    for round in 0..5 {
        let name = round.to_string();
        let publish = async {
            proxy.cut();
            until("it is published", async || broker.publish(vec![to("q", &name)]).await.is_ok()).await;
        };
        let (mut got, ()) = tokio::join!(take(&mut reader, 1), publish);
        // What a cut left without a confirm was published twice.
        while names(&got)[0].parse::<usize>().unwrap() < round {
            reader.acker().ack(receipts(&got)).await.unwrap();
            got = take(&mut reader, 1).await;
        }
        assert_eq!(names(&got), [name]);
        reader.acker().ack(receipts(&got)).await.unwrap();
    }
}

/// Waits for a call that ends, well or not, before its connection would time out.
async fn ended<T>(what: &str, call: impl Future<Output = apium_transport::error::Result<T>>) {
    let ended = tokio::time::timeout(Duration::from_secs(20), call).await;
    assert!(ended.is_ok(), "{what} did not end with its connection");
}

/// Whatever a cut meets, each call ends soon after it, and works again with the next connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_when_its_connection_is_cut() {
    let vhost = fresh_vhost();
    let (broker, proxy) = behind_proxy(&vhost.name);
    let records = broker.fleet().unwrap();
    let queues = broker.queues().unwrap();
    let limits = FleetLimits::new(10, None);
    for round in 0..100u64 {
        let calls = async {
            tokio::join!(
                ended("the records", records.list(FleetTopic::PausedQueues, None, limits)),
                ended("the depth", queues.depth("q")),
                ended("the publish", broker.publish(vec![to("q", "x")])),
            )
        };
        let before = proxy.bytes_to_client();
        let cut = async {
            // Each round cuts a little later in the opening of connections.
            while proxy.bytes_to_client() - before < 25 * round {
                tokio::task::yield_now().await;
            }
            proxy.cut();
            std::future::pending::<()>().await;
        };
        tokio::select! { _ = calls => {}, () = cut => {} }
    }
    until("all works", async || {
        broker.publish(vec![to("q", "x")]).await.is_ok()
            && records.list(FleetTopic::PausedQueues, None, limits).await.is_ok()
    })
    .await;
}

/// A node that was killed and started again has what was confirmed, and is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_survives_a_kill() {
    let node = RabbitmqServer::start();
    let vhost = node.fresh_vhost();
    let broker = open(&vhost.url, &[("connection_timeout", "1")]).unwrap();
    let sent: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    send(&broker, "q", &sent.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut reader = consumer(&broker, "q", 10).await;
    let got = take(&mut reader, 2).await;
    node.kill();
    let error = broker.publish(vec![to("q", "lost")]).await.unwrap_err();
    assert!(error.is_retryable(), "{error:#}");
    assert!(matches!(broker.health(), Health::Red { .. }));
    node.start_again();
    let others = take(&mut reader, 8).await;
    assert!(names(&others).iter().all(|name| !names(&got).contains(name)), "{:?}", names(&others));
    reader.acker().ack(receipts(&got)).await.unwrap();
    reader.acker().ack(receipts(&others)).await.unwrap();
    let mut rest = Vec::new();
    while rest.len() < 40 {
        let batch = take(&mut reader, 1).await;
        reader.acker().ack(receipts(&batch)).await.unwrap();
        rest.extend(names(&batch));
    }
    until("it publishes again", async || broker.publish(vec![to("q", "new")]).await.is_ok()).await;
    assert!(broker.health().is_green(), "{:?}", broker.health());
}

/// While the disk of the server is full, publishing fails with the reason and consuming goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_publishers_alone() {
    let node = RabbitmqServer::start();
    let vhost = node.fresh_vhost();
    let broker = open(&vhost.url, &[("connection_timeout", "2")]).unwrap();
    send(&broker, "q", &["first"]).await;
    node.ctl(&["set_disk_free_limit", "1000000GB"]);
    // The server says so when something is published.
    let mut said = None;
    until("publishing is refused, and health says why", async || {
        said = broker.publish(vec![to("q", "blocked")]).await.err();
        let is_refused = said.as_ref().is_some_and(|error| error.kind() == ErrorKind::Unavailable);
        // A connection that a late confirm has cost may be the one that refused, and is lost then.
        is_refused && matches!(broker.health(), Health::Red { reason, .. } if reason.contains("disk"))
    })
    .await;
    let text = format!("{:#}", said.unwrap());
    assert!(text.contains("takes no messages now") && text.contains("disk"), "{text}");
    let mut reader = consumer(&broker, "q", 1).await;
    let got = take(&mut reader, 1).await;
    reader.acker().ack(receipts(&got)).await.unwrap();
    node.ctl(&["set_disk_free_limit", "1MB"]);
    until("it publishes again", async || broker.publish(vec![to("r", "again")]).await.is_ok()).await;
    assert!(broker.health().is_green(), "{:?}", broker.health());
}

/// An operator closes the connections in the middle of much traffic: everything is consumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_an_operator_closes_connections() {
    let node = RabbitmqServer::start();
    let vhost = node.fresh_vhost();
    let broker = open(&vhost.url, &[]).unwrap();
    let publishing = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for round in 0..100 {
            let batch: Vec<_> = (0..10).map(|number| to("q", &(round * 10 + number).to_string())).collect();
            while broker.publish(batch.clone()).await.is_err() {
                ticks.tick().await;
            }
        }
    };
    let consuming = async {
        let mut reader = consumer(&broker, "q", 50).await;
        let mut seen = std::collections::BTreeSet::new();
        let mut closes = 0;
        while seen.len() < 1000 {
            let batch = take(&mut reader, 1).await;
            reader.acker().ack(receipts(&batch)).await.unwrap();
            seen.extend(names(&batch));
            if seen.len() > 300 * (closes + 1) {
                closes += 1;
                tokio::task::block_in_place(|| node.close_connections());
            }
        }
        closes
    };
    let ((), closes) =
        soon("everything is published and consumed", async { tokio::join!(publishing, consuming) }).await;
    assert!(closes >= 3);
}
