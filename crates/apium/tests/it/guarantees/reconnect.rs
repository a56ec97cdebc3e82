//! `reconnect`: a worker takes messages again soon after its broker is back, however many queues it has and however
//! long the broker was away. The fault test measures the time; here it is only bounded.

use std::time::{Duration, Instant};

use apium::prelude::*;
use apium::worker::StopKind;
use apium_peers::redis::{Client, Connection, cmd};
use apium_peers::redis_server::RedisServer;

use crate::fixture::Records;
use crate::gate::Gate;
use crate::live::{entered, open_gate, stop, wait_until};
use crate::scenarios::ends::shutdown::gated;

/// The fault test measures less than a second; a busy machine may need longer.
const LIMIT: Duration = Duration::from_secs(4);

fn connection(server: &RedisServer) -> Connection {
    Client::open(server.url(0)).unwrap().get_connection().unwrap()
}

/// How many lists the worker waits for: it blocks on one, and the server tracks the others for it. This holds for a
/// server that was started since, and so tracks nothing for connections that are gone.
fn waits(redis: &mut Connection) -> usize {
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    let blocked = list.lines().filter(|line| line.contains(" cmd=blmove ") && line.contains(" flags=b")).count();
    let stats: String = cmd("INFO").arg("stats").query(redis).unwrap();
    let tracked = stats.lines().find_map(|line| line.strip_prefix("tracking_total_items:")).unwrap();
    blocked + tracked.parse::<usize>().unwrap()
}

async fn app(server: &RedisServer) -> App {
    let builder = App::builder("reconnect").broker(server.url(0)).backend(server.url(0)).autodiscover(false);
    builder.state(Records::default()).state(Gate::default()).register::<gated>().build().await.unwrap()
}

/// Publishes to the last queue. Returns how long it took until the task began.
async fn time_to_first_task(server: &RedisServer, worker_app: &App, queue: &str) -> Duration {
    let sender = app(server).await;
    let began = Instant::now();
    gated::delay(1).queue(queue).send(&sender).await.unwrap();
    entered(worker_app, 1).await;
    open_gate(worker_app, 1);
    began.elapsed()
}

/// Runs a worker of so many queues, and takes its server away for each of these times.
async fn outages(count: usize, away: &[Duration]) {
    // Otherwise a killed server may forget that a task was taken, and it would run twice.
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let worker_app = app(&server).await;
    let queues: Vec<String> = (0..count).map(|n| format!("q{n}")).collect();
    let worker = worker_app.worker().hostname("w@host").concurrency(2).queues(queues.clone()).start().await.unwrap();
    for away in away {
        wait_until("it waits on every queue", async || waits(&mut connection(&server)) == count * 4).await;
        server.kill();
        let killed = Instant::now();
        wait_until("the server was away", async || killed.elapsed() >= *away).await;
        server.restart();
        let took = time_to_first_task(&server, &worker_app, queues.last().unwrap()).await;
        assert!(took < LIMIT, "{count} queues, {away:?} away: the first task began after {took:?}");
    }
    wait_until("it waits on every queue", async || waits(&mut connection(&server)) == count * 4).await;
    let mut kill = cmd("CLIENT");
    let _: u64 =
        kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut connection(&server)).unwrap();
    let took = time_to_first_task(&server, &worker_app, &queues[0]).await;
    assert!(took < LIMIT, "{count} queues, clients killed: the first task began after {took:?}");
    wait_until("it is healthy", async || worker.health().is_green()).await;
    stop(worker, StopKind::Warm).await;
}

const AWAY: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(7)];

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_one_queue() {
    outages(1, &AWAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_ten_queues() {
    outages(10, &AWAY).await;
}

/// A server without persistence: what the worker has in hand goes on, and so does what follows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_what_follows_it_outlive_a_server_that_loses_its_data() {
    for acks_late in [false, true] {
        let server = RedisServer::start();
        let builder = App::builder("reconnect").broker(server.url(0)).backend(server.url(0)).autodiscover(false);
        let builder = builder.state(Records::default()).state(Gate::default()).register::<gated>();
        let app = builder.setting("task_acks_late", acks_late).build().await.unwrap();
        let worker = app.worker().hostname("w@host").concurrency(1).start().await.unwrap();
        let chain = (gated::s(7) | gated::p()).send(&app).await.unwrap();
        entered(&app, 1).await;
        server.restart();
        open_gate(&app, 2);
        assert_eq!(chain.get().timeout(Duration::from_secs(30)).await.unwrap(), 7, "acks_late = {acks_late}");
        stop(worker, StopKind::Warm).await;
    }
}
