//! What a turn costs on Redis: the claim of what comes next goes with the settlement before it, and the mark of a run
//! that begins with its claim.

use apium::prelude::*;
use apium::worker::StopKind;
use apium_peers::redis::{Client, Connection, Value, cmd};
use apium_peers::redis_server::RedisServer;

use crate::live::{start, stop, value};

#[task(name = "guarantees.count_up")]
async fn count_up(n: i64) -> TaskResult<i64> {
    Ok(n + 1)
}

/// The commands that clients sent, but not those of a publisher, of a waiting caller, or of maintenance.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    scripts: usize,
    marks: usize,
    waits: usize,
}

struct Monitor(std::thread::JoinHandle<Sent>, Connection);

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let open = || Client::open(server.url(0)).unwrap().get_connection().unwrap();
        let mut listening: Connection = open();
        let monitor = cmd("MONITOR").get_packed_command();
        apium_peers::redis::ConnectionLike::req_packed_command(&mut listening, &monitor).unwrap();
        let count = move || {
            let mut sent = Sent::default();
            loop {
                let Value::SimpleString(line) = listening.recv_response().unwrap() else { continue };
                let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
                match words.as_slice() {
                    ["ECHO", "enough"] => return sent,
                    _ if line.contains(" lua] ") => {}
                    ["EVALSHA" | "EVAL", ..] => sent.scripts += 1,
                    ["ZADD", "unacked_index", ..] => sent.marks += 1,
                    ["BLMOVE", ..] => sent.waits += 1,
                    _ => {}
                }
            }
        };
        Self(std::thread::spawn(count), open())
    }

    fn stop(mut self) -> Sent {
        let _: String = cmd("ECHO").arg("enough").query(&mut self.1).unwrap();
        self.0.join().unwrap()
    }
}

async fn app(server: &RedisServer) -> App {
    let builder = App::builder("live").broker(server.url(0)).backend(server.url(0)).autodiscover(false);
    builder.setting("task_acks_late", true).register::<count_up>().build().await.unwrap()
}

/// A chain of ten steps on an idle worker: a wait and a claim for the first step, and then one script for each.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_chain_costs_one_round_trip() {
    let server = RedisServer::start();
    let app = app(&server).await;
    let worker = start(&app, 8).await;
    // From here on the server knows every script, and the lists were found empty.
    let warm = (count_up::s(0) | count_up::p()).send(&app).await.unwrap();
    assert_eq!(value(&warm).await, 2);
    let monitor = Monitor::start(&server);
    let chain = (2..10).fold(count_up::s(0) | count_up::p(), |chain, _| chain | count_up::p());
    assert_eq!(value(&chain.send(&app).await.unwrap()).await, 10);
    let sent = monitor.stop();
    assert_eq!((sent.scripts, sent.marks), (11, 0), "{sent:?}");
    assert!(sent.waits < 10, "the message that woke the worker, and waits whose time was up: {sent:?}");
    stop(worker, StopKind::Warm).await;
}

/// A call on an idle worker: a wait, a claim that marks, and a settlement.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_an_idle_worker_costs_two_scripts_and_no_mark() {
    let server = RedisServer::start();
    let app = app(&server).await;
    let worker = start(&app, 8).await;
    assert_eq!(value(&count_up::delay(0).send(&app).await.unwrap()).await, 1);
    let monitor = Monitor::start(&server);
    for n in 0..20 {
        assert_eq!(value(&count_up::delay(n).send(&app).await.unwrap()).await, n + 1);
    }
    let sent = monitor.stop();
    assert_eq!((sent.scripts, sent.marks), (40, 0), "{sent:?}");
    assert!(sent.waits < 40, "one for each call, and a few whose time was up: {sent:?}");
    stop(worker, StopKind::Warm).await;
}

/// A full queue: the settlements bring the next messages, so that almost no claim is sent by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_sends_less_than_one_command_for_a_task() {
    let server = RedisServer::start();
    let app = app(&server).await;
    let results = count_up::batch((0..1_000).map(|n| (n,))).send_all(&app).await.unwrap();
    let monitor = Monitor::start(&server);
    let worker = start(&app, 8).await;
    for (n, result) in (0..).zip(&results) {
        assert_eq!(value(result).await, n + 1);
    }
    let sent = monitor.stop();
    assert!(sent.scripts + sent.marks < 1_000, "{sent:?}");
    stop(worker, StopKind::Warm).await;
}
