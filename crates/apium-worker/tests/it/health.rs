//! A worker's health: on its handle, in the ready file and at the HTTP endpoint for probes.

use std::net::SocketAddr;
use std::time::Duration;

use apium_app::app::app::App;
use apium_transport::health::Health;
use apium_worker::builder::AppWorker as _;
use apium_worker::handle::WorkerHandle;
use apium_worker::shutdown::kind::{StopCause, StopKind};
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Gate, json, send, until, until_state};
use crate::switched_driver::{SwitchedDriver, Switches, URL};
use crate::task;

task!(Quick = "quick", [], async |_ctx| Ok(json(1)));
task!(Long = "long", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});

async fn app(gate: &Gate, switches: &Switches) -> TestApp {
    let builder = App::test().with(|app| app.autodiscover(false)).state(gate.clone());
    let builder = builder.driver(SwitchedDriver::new(switches)).broker(URL).backend(URL);
    builder.register::<Quick>().register::<Long>().build().await.unwrap()
}

fn reason(worker: &WorkerHandle) -> String {
    match worker.health() {
        Health::Green => String::new(),
        Health::Red { reason, .. } => reason,
    }
}

async fn until_green(worker: &WorkerHandle) {
    until("the worker is green", async || worker.health().is_green()).await;
}

#[tokio::test]
async fn a_worker_is_healthy_while_its_broker_its_backend_and_its_fetching_are() {
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    let worker = app.worker().concurrency(1).start().await.unwrap();
    until_green(&worker).await;
    switches.broker_red(true);
    assert_eq!(reason(&worker), "the broker memory://: no answer");
    switches.backend_red(true);
    switches.broker_red(false);
    assert_eq!(reason(&worker), "the result backend memory://: read only");
    // The worker tries the backend although no task needs it.
    switches.heal();
    until("the backend is reached again", async || {
        app.clock().advance(Duration::from_secs(1));
        worker.health().is_green()
    })
    .await;

    // The worker waits in a fetch, which message a ends. The next fetch finds no connection.
    switches.cut(true);
    send(&app, "quick", "a").await;
    until("fetching is red", async || reason(&worker).contains("the cable is out")).await;
    switches.cut(false);
    send(&app, "quick", "b").await;
    until_green(&worker).await;
    until_state(&app, "b", "SUCCESS").await;

    send(&app, "long", "c").await;
    gate.begun(1).await;
    worker.request_stop(StopKind::Warm);
    until("the worker says that it stops", async || reason(&worker) == "the worker stops").await;
    gate.open(1);
    worker.stopped().await;
}

#[tokio::test]
async fn a_worker_whose_broker_or_backend_closed_itself_for_good_stops_in_order() {
    for of_backend in [false, true] {
        let (gate, switches) = (Gate::new(), Switches::default());
        let app = app(&gate, &switches).await;
        let worker = app.worker().concurrency(1).prefetch_multiplier(4).start().await.unwrap();
        until_green(&worker).await;
        switches.close_for_good();
        if of_backend {
            // No task uses it: the worker finds out by itself.
            switches.backend_red(true);
        } else {
            // The fetch that waits brings this one, and the next fetch fails.
            send(&app, "long", "a").await;
            gate.begun(1).await;
            until("the worker does not fetch", async || reason(&worker).contains("closed itself for good")).await;
            gate.open(1);
        }
        let clock_goes_on = async {
            loop {
                app.clock().advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        let report = tokio::select! {
            report = worker.stopped() => report,
            () = clock_goes_on => unreachable!("it goes on until the worker has stopped"),
        };
        assert_eq!((report.how, report.cause, report.exit_code()), (StopKind::Warm, StopCause::Fault, 1));
        assert_eq!(report.finished, u64::from(!of_backend), "what runs is finished");
    }
}

#[tokio::test]
async fn the_ready_file_is_there_while_the_worker_is_green() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    // The file of a killed worker is removed before the broker is reached.
    std::fs::write(&file, "stale").unwrap();
    switches.cut(true);
    let mut starting = Box::pin(app.worker().concurrency(1).ready_file(&file).start());
    tokio::select! {
        _ = &mut starting => panic!("it cannot start"),
        () = until("the old file is gone", async || !file.exists()) => {}
    }
    switches.cut(false);
    let worker = starting.await.unwrap();
    until("the file is there", async || file.exists()).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));

    switches.backend_red(true);
    let looks = async || {
        app.clock().advance(Duration::from_secs(1));
        file.exists()
    };
    until("the file is gone with the backend", async || !looks().await).await;
    switches.backend_red(false);
    until("the file is back", looks).await;

    // A warm stop removes it before the runs have ended.
    send(&app, "long", "it").await;
    gate.begun(1).await;
    worker.request_stop(StopKind::Warm);
    until("the file is gone with the stop", async || !file.exists()).await;
    gate.open(1);
    worker.stopped().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn the_ready_file_is_removed_by_a_stop_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let gate = Gate::new();
    let app = app(&gate, &Switches::default()).await;
    let worker = app.worker().concurrency(1).ready_file(&file).start().await.unwrap();
    until("the file is there", async || file.exists()).await;
    worker.stop_as(StopKind::Now).await;
    assert!(!file.exists());

    let nowhere = folder.path().join("missing/ready");
    let error = app.worker().ready_file(nowhere).start().await.unwrap_err().to_string();
    assert!(error.contains("missing/ready") && error.contains("folder does not exist"), "{error}");
}

/// Sends a request line to the endpoint, and gives back status and text of the answer.
async fn request(address: SocketAddr, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{line} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn probes_are_answered_over_http() {
    let (gate, switches) = (Gate::new(), Switches::default());
    let app = app(&gate, &switches).await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let worker = app.worker().concurrency(1).health_listen(any).start().await.unwrap();
    let address = worker.health_address().unwrap();
    until_green(&worker).await;
    assert_eq!(request(address, "GET /ready").await, (200, "ready\n".into()));
    assert_eq!(request(address, "GET /ready?from=here").await.0, 200);
    assert_eq!(request(address, "HEAD /live").await, (200, String::new()));
    assert_eq!(request(address, "POST /ready").await.0, 405);
    assert_eq!(request(address, "GET /else").await.0, 404);
    // A client that connects and sends nothing does not hold up the others.
    let _silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(request(address, "GET /live").await.0, 200);
    let in_use = app.worker().hostname("w2@here").health_listen(address).start().await.unwrap_err();
    assert!(in_use.to_string().contains(&address.to_string()), "{in_use}");

    switches.broker_red(true);
    let (status, text) = request(address, "GET /ready").await;
    assert_eq!(status, 503);
    assert!(text.starts_with("not ready since 1970-01-01T00:00:00Z: the broker memory://: no answer"), "{text}");
    assert_eq!(request(address, "GET /live").await, (200, "live\n".into()));
    switches.broker_red(false);
    assert_eq!(request(address, "GET /ready").await.0, 200);

    // While the runs end the worker is live and not ready.
    send(&app, "long", "it").await;
    gate.begun(1).await;
    worker.request_stop(StopKind::Warm);
    until("not ready with the stop", async || request(address, "GET /ready").await.0 == 503).await;
    assert_eq!(request(address, "GET /live").await.0, 200);
    gate.open(1);
    worker.stopped().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_worker_that_waits_for_its_broker_is_live_and_not_ready() {
    let switches = Switches::default();
    let app = app(&Gate::new(), &switches).await;
    switches.cut(true);
    let address = SocketAddr::from(([127, 0, 0, 1], apium_peers::port::free()));
    let mut starting = Box::pin(app.worker().concurrency(1).health_listen(address).start());
    let probing = async {
        until("it listens", async || TcpStream::connect(address).await.is_ok()).await;
        assert_eq!(request(address, "GET /live").await.0, 200);
        let (status, text) = request(address, "GET /ready").await;
        assert!(status == 503 && text.contains("has not started to fetch"), "{status} {text}");
    };
    tokio::select! {
        _ = &mut starting => panic!("it cannot start"),
        () = probing => {}
    }
    switches.cut(false);
    let worker = starting.await.unwrap();
    until("it is ready", async || request(address, "GET /ready").await.0 == 200).await;
    worker.stop().await;
}
