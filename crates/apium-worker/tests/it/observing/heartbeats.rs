//! Heartbeats: what they say, how often they come, and elections.

use std::time::Duration;

use apium_app::app::app::App;
use apium_protocol::message::event::Event;
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_worker::builder::{AppWorker as _, WorkerBuilder};
use apium_worker::testing::app::TestApp;
use serde_json::json;

use crate::observing::monitor::{Monitor, field};
use crate::observing::tasks::app;
use crate::rig::{send, until_state};

fn worker(app: &TestApp) -> WorkerBuilder {
    // Without a greeting, whose messages move the logical clock on too.
    app.worker().concurrency(1).hostname("w1@host").mingle(false)
}

/// Turns the clock by so many seconds, one by one, so that whoever sleeps wakes at each.
async fn pass(app: &TestApp, seconds: u64) {
    for _ in 0..seconds {
        app.clock().advance(Duration::from_secs(1));
        // What was said by then is sent.
        tokio::time::advance(Duration::from_millis(20)).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_says_that_it_is_online_that_it_lives_and_that_it_goes() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).task_events(true).start().await.unwrap();
    let online = monitor.until_kind("worker-online").await;
    let keys: Vec<_> = online.fields.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"]);
    assert_eq!((field(&online, "freq"), field(&online, "active")), (json!(2.0), json!(0)));
    assert_eq!((field(&online, "sw_ident"), field(&online, "processed")), (json!("apium"), json!(0)));
    assert_eq!(field(&online, "loadavg").as_array().unwrap().len(), 3);
    send(&app, "quick", "quick-1").await;
    until_state(&app, "quick-1", "SUCCESS").await;
    app.clock().advance(Duration::from_secs(2));
    let beat = monitor.until_kind("worker-heartbeat").await;
    assert_eq!(field(&beat, "processed"), 1);
    worker.stop().await;
    let offline = monitor.until_kind("worker-offline").await;
    assert!(offline.clock > beat.clock);
    let keys = monitor.seen.iter().filter(|(_, event)| event.kind.starts_with("worker-")).map(|(key, _)| &**key);
    assert!(keys.clone().all(|key| key.starts_with("worker.")), "{:?}", keys.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_often_while_somebody_listens_and_seldom_otherwise() {
    let app = app().await;
    let worker = worker(&app).start().await.unwrap();
    pass(&app, 100).await;
    let clock = app.publisher().lamport().value();
    assert!((2..=3).contains(&clock), "one when it starts, and one a minute: {clock}");

    // The next heartbeat finds the monitor, although it never asks; from then on they come every 2 s.
    let mut monitor = Monitor::open(&app).await;
    pass(&app, 60).await;
    monitor.until("a seldom one", |monitor| monitor.count("worker-heartbeat") >= 1).await;
    assert_eq!(field(&monitor.seen[0].1, "freq"), 60.0, "nobody takes it for dead before the next one");
    let before = app.publisher().lamport().value();
    pass(&app, 20).await;
    let often = app.publisher().lamport().value() - before;
    assert!((8..=12).contains(&often), "every 2 s: {often}");

    // The monitor goes.
    drop(monitor);
    pass(&app, 10).await;
    let before = app.publisher().lamport().value();
    pass(&app, 50).await;
    assert!(app.publisher().lamport().value() - before <= 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_pace_can_be_set_and_heartbeats_can_be_left_out() {
    let app = app().await;
    let silent = worker(&app).without_heartbeat().without_gossip().start().await.unwrap();
    pass(&app, 100).await;
    silent.stop().await;
    assert_eq!(app.publisher().lamport().value(), 0, "no event was sent");
    let steady = worker(&app).heartbeat_interval(Duration::from_secs(5)).start().await.unwrap();
    pass(&app, 50).await;
    let count = app.publisher().lamport().value();
    assert!((10..=12).contains(&count), "{count}");
    steady.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_answered_at_once() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).start().await.unwrap();
    monitor.until_kind("worker-online").await;
    worker.send_heartbeat();
    let answer = monitor.until_kind("worker-heartbeat").await;
    let keys: Vec<_> = answer.fields.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["freq", "sw_ident", "sw_ver", "sw_sys"], "as Celery answers");
    assert_eq!(field(&answer, "freq"), json!(5));
    worker.stop().await;
}

async fn elect(app: &App, id: &str) {
    let mut event = Event::new("worker-elect", "other@host".into(), 0.0);
    event.clock = 700;
    event.fields.push(("id".into(), crate::rig::json(id)));
    let exchange = BroadcastExchange::new("celeryev", ExchangeType::Topic);
    let message = Outgoing::new("celeryev".into(), "worker.elect".into(), event.to_message());
    app.broker().broadcast().unwrap().send(&exchange, vec![message]).await.unwrap();
}

#[tokio::test]
async fn candidates_of_an_election_are_acknowledged() {
    let app = app().await;
    let mut monitor = Monitor::open(&app).await;
    let worker = worker(&app).without_heartbeat().start().await.unwrap();
    let acked = |monitor: &Monitor| monitor.count("worker-elect-ack") > 0;
    // The worker listens a moment after it has started.
    while !acked(&monitor) {
        elect(&app, "el-2").await;
        let seen = monitor.seen.len();
        monitor.until("the candidate, or an answer", |monitor| monitor.seen.len() > seen).await;
        tokio::task::yield_now().await;
    }
    let ack = monitor.until_kind("worker-elect-ack").await;
    assert_eq!(field(&ack, "id"), "el-2");
    assert_eq!(&*ack.hostname, "w1@host");
    assert!(ack.clock > 700, "the clock has gone past that of the candidate");
    worker.stop().await;
}
