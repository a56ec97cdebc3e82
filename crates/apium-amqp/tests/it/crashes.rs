//! What is a crash, and what is none.

use apium_peers::proxy::Proxy;
use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};
use apium_transport::broker::consumer::{Consumer, Delivery};
use apium_transport::broker::settlement::Disposition;

use crate::kit::{consumer, depth, names, open, receipts, send, take, until};

fn crashes(batch: &[Delivery]) -> Vec<(String, u32)> {
    names(batch).into_iter().zip(batch.iter().map(|delivery| delivery.crashes)).collect()
}

async fn start(reader: &dyn Consumer, batch: &[Delivery]) {
    reader.acker().mark_started(&receipts(batch)).await.unwrap();
}

/// Quorum queues count like classic ones, and what was only prefetched, or given back, counts nothing there either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_queues_count_crashes() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[("queue_type", "quorum")]).unwrap();
    send(&broker, "q", &["killer", "prefetched"]).await;
    for round in 0..3 {
        let mut reader = consumer(&broker, "q", 10).await;
        let mut got = take(&mut reader, 2).await;
        // A quorum queue gives back in an order of its own.
        got.sort_by_key(|delivery| names(std::slice::from_ref(delivery)));
        assert_eq!(crashes(&got), [("killer".to_owned(), round), ("prefetched".to_owned(), 0)]);
        reader.acker().reject(vec![(receipts(&got)[1].clone(), Disposition::Requeue)]).await.unwrap();
        start(&*reader, &got[..1]).await;
    }
    let mut reader = consumer(&broker, "q", 10).await;
    let got = take(&mut reader, 2).await;
    assert_eq!(got.iter().map(|delivery| delivery.crashes).sum::<u32>(), 3);
    reader.acker().ack(receipts(&got)).await.unwrap();
    until("the records of what is settled are gone", async || depth(&broker, "apium.crashes").await == 0).await;
}

/// A run whose worker lost its connection and lives is no crash, also when another worker has got its message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_no_crash() {
    let vhost = fresh_vhost();
    let proxy = Proxy::to(RabbitmqServer::shared().port());
    let url = format!("amqp://guest:guest@127.0.0.1:{}/{}", proxy.port(), vhost.name);
    let (cut, other) = (open(&url, &[]).unwrap(), open(&vhost.url, &[]).unwrap());
    send(&other, "q", &["m"]).await;
    let mut victim = consumer(&cut, "q", 2).await;
    let got = take(&mut victim, 1).await;
    start(&*victim, &got).await;
    proxy.refuse(true);
    proxy.cut();
    let mut second = consumer(&other, "q", 1).await;
    let again = take(&mut second, 1).await;
    // The first one may be dead for all that the second one knows.
    assert_eq!(names(&again), ["m"]);
    proxy.refuse(false);
    send(&other, "r", &["wakes"]).await;
    victim.subscribe("r").await.unwrap();
    assert_eq!(names(&take(&mut victim, 1).await), ["wakes"], "it is connected again");
    until("it has taken back the record", async || depth(&other, "apium.crashes").await == 0).await;
    // Otherwise the run that goes on there would take its message over.
    victim.unsubscribe("q").await.unwrap();
    second.acker().reject(vec![(receipts(&again)[0].clone(), Disposition::Requeue)]).await.unwrap();
    second.close().await.unwrap();
    let mut third = consumer(&other, "q", 1).await;
    let got = take(&mut third, 1).await;
    assert_eq!(crashes(&got), [("m".to_owned(), 0)]);
    victim.close().await.unwrap();
    until("no record of it is left", async || depth(&other, "apium.crashes").await == 0).await;
    third.acker().ack(receipts(&got)).await.unwrap();
}

/// A run that went on over a cut counts when its worker dies later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_a_cut_counts() {
    let vhost = fresh_vhost();
    let proxy = Proxy::to(RabbitmqServer::shared().port());
    let url = format!("amqp://guest:guest@127.0.0.1:{}/{}", proxy.port(), vhost.name);
    let (cut, other) = (open(&url, &[]).unwrap(), open(&vhost.url, &[]).unwrap());
    send(&cut, "q", &["m"]).await;
    let mut victim = consumer(&cut, "q", 2).await;
    let got = take(&mut victim, 1).await;
    start(&*victim, &got).await;
    proxy.cut();
    send(&other, "q", &["next"]).await;
    assert_eq!(names(&take(&mut victim, 1).await), ["next"], "the first one goes on");
    let marked = "its run is marked again";
    let plain = crate::kit::plain(&vhost.url).await;
    until(marked, async || unacked_marks(RabbitmqServer::shared(), &vhost.name) == 1).await;
    drop((plain, victim));
    let mut reader = consumer(&other, "q", 2).await;
    let mut got = take(&mut reader, 2).await;
    got.sort_by_key(|delivery| names(std::slice::from_ref(delivery)));
    assert_eq!(crashes(&got), [("m".to_owned(), 1), ("next".to_owned(), 0)]);
}

/// How many marks are held at the server.
fn unacked_marks(node: &RabbitmqServer, vhost: &str) -> u64 {
    let listed = node.ctl(&["list_queues", "--no-table-headers", "-p", vhost, "name", "messages_unacknowledged"]);
    let marks = listed.lines().filter(|line| line.starts_with("apium.started."));
    marks.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// A consumer that closes leaves no queue behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_consumer_leaves_no_marks() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[]).unwrap();
    send(&broker, "q", &["m"]).await;
    let mut reader = consumer(&broker, "q", 1).await;
    let got = take(&mut reader, 1).await;
    start(&*reader, &got).await;
    let queues = || RabbitmqServer::shared().ctl(&["list_queues", "--no-table-headers", "-p", &vhost.name, "name"]);
    assert!(queues().contains("apium.started."), "{}", queues());
    reader.close().await.unwrap();
    assert!(!queues().contains("apium.started."), "{}", queues());
    assert_eq!(depth(&broker, "apium.crashes").await, 0);
}
