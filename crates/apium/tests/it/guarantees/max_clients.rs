//! Few connections on Redis, and a server that takes few (`maxclients`): workers of many queues serve, callers get in,
//! and a worker that cannot wait for messages says so.

use apium::prelude::*;
use apium::worker::{Health, StopKind, WorkerHandle};
use apium_peers::redis::{Client, Connection, cmd};
use apium_peers::redis_server::RedisServer;

use crate::fixture::Records;
use crate::gate::Gate;
use crate::live::{entered, open_gate, stop, value, wait_until};
use crate::scenarios::ends::shutdown::gated;

fn connection(server: &RedisServer) -> Connection {
    Client::open(server.url(0)).unwrap().get_connection().unwrap()
}

/// The other clients of the server, line by line.
fn clients(redis: &mut Connection) -> Vec<String> {
    let own: i64 = cmd("CLIENT").arg("ID").query(redis).unwrap();
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    list.lines().filter(|line| !line.starts_with(&format!("id={own} "))).map(str::to_owned).collect()
}

async fn app(server: &RedisServer) -> App {
    let builder = App::builder("few").broker(server.url(0)).backend(server.url(0)).autodiscover(false);
    builder.state(Records::default()).state(Gate::default()).register::<gated>().build().await.unwrap()
}

/// A worker of ten queues, in an app of its own as in a process of its own.
async fn worker(server: &RedisServer, number: usize) -> (App, WorkerHandle) {
    let app = app(server).await;
    let queues: Vec<String> = (0..10).map(|n| format!("w{number}-q{n}")).collect();
    let name = format!("w{number}@host");
    let worker = app.worker().hostname(name).concurrency(2).queues(queues).start().await.unwrap();
    (app, worker)
}

/// Waits until the workers block on a list, which follows the tracking of all others.
async fn idle(redis: &mut Connection, workers: usize) {
    let waits = |line: &String| line.contains(" cmd=blmove ") && line.contains(" flags=b");
    wait_until("they wait", async || clients(redis).iter().filter(|line| waits(line)).count() == workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_ten_queues_and_callers_fit_into_twenty_connections() {
    let server = RedisServer::builder().args(["--maxclients", "20"]).start();
    let mut redis = connection(&server);
    let mut workers = Vec::new();
    for number in 0..3 {
        workers.push(worker(&server, number).await);
    }
    idle(&mut redis, 3).await;
    wait_until("four connections each", async || clients(&mut redis).len() == 12).await;
    let sender = app(&server).await;
    for (number, (app, _)) in workers.iter().enumerate() {
        let result = gated::delay(7).queue(format!("w{number}-q9")).send(&sender).await.unwrap();
        let waiting = value(&result);
        entered(app, 1).await;
        open_gate(app, 1);
        assert_eq!(waiting.await, 7);
    }
    // One for commands, and one for notifications of results.
    assert_eq!(clients(&mut redis).len(), 14, "{:#?}", clients(&mut redis));
    for (_, worker) in workers {
        assert!(worker.health().is_green());
        stop(worker, StopKind::Warm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_wait_finds_no_room_is_not_healthy_says_why_and_serves() {
    let server = RedisServer::builder().args(["--maxclients", "20"]).start();
    let mut redis = connection(&server);
    let sender = app(&server).await;
    let (app, worker) = worker(&server, 0).await;
    idle(&mut redis, 1).await;
    let result = gated::delay(1).queue("w0-q0").send(&sender).await.unwrap();
    entered(&app, 1).await;
    open_gate(&app, 1);
    assert_eq!(value(&result).await, 1);
    idle(&mut redis, 1).await;
    // The server takes no more connections, and the one breaks on which the worker waits.
    let max_clients = |redis: &mut Connection, count: usize| {
        let _: String = cmd("CONFIG").arg("SET").arg("maxclients").arg(count).query(redis).unwrap();
    };
    max_clients(&mut redis, 1);
    let line = clients(&mut redis).into_iter().find(|line| line.contains(" cmd=blmove ")).unwrap();
    let id = line.strip_prefix("id=").and_then(|line| line.split(' ').next()).unwrap().to_owned();
    let _: u64 = cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(&mut redis).unwrap();
    wait_until("the reason", async || matches!(worker.health(), Health::Red { reason, .. } if reason.contains("max")))
        .await;
    // It looks from time to time.
    let result = gated::delay(2).queue("w0-q9").send(&sender).await.unwrap();
    entered(&app, 1).await;
    open_gate(&app, 1);
    assert_eq!(value(&result).await, 2);
    max_clients(&mut redis, 20);
    wait_until("it is healthy", async || worker.health().is_green()).await;
    idle(&mut redis, 1).await;
    stop(worker, StopKind::Warm).await;
}
