//! Topic, fanout and headers exchanges that both sides use.

use apium::prelude::*;
use apium_peers::namespace::Database;
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_peers::redis_server::fresh_database;
use serde_json::json;
use tempfile::TempDir;

use crate::kit::pair::{Pair, text};
use crate::kit::python_client::BorrowedClient;
use crate::kit::run_log::RunLog;
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::Setup;

/// The queues of `exchanges.py`.
const QUEUES: &str = r##"
[task_queues.orders]
exchange = "market"
exchange_type = "topic"
routing_key = "order.#"

[task_queues.bids]
exchange = "market"
exchange_type = "topic"
routing_key = "*.bid"

[task_queues.news]
exchange = "news"
exchange_type = "fanout"
routing_key = "celery"
"##;

/// The queues of `headers_exchange.py`.
const BOUND_BY_HEADERS: &str = r#"
[task_queues.pdfs]
exchange = "reports"
exchange_type = "headers"
binding_arguments = { x-match = "all", format = "pdf", copies = 2 }

[task_queues.texts]
exchange = "reports"
exchange_type = "headers"
binding_arguments = { x-match = "any", format = "text", plain = true }
"#;

/// A folder with a settings file for a Rust worker.
fn folder(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("apium.toml"), settings).unwrap();
    folder
}

/// Builds a worker with the queues of a module of Python and of the settings in a folder.
fn setup(url: &str, module: &'static str, folder: &TempDir) -> Setup {
    let mut setup = Setup::new(url);
    setup.module = module;
    setup.folder = Some(folder.path().to_str().unwrap().to_owned());
    setup
}

/// A pair whose programs have declared the exchanges.
async fn pair(database: &Database, producer: Side, worker: Side) -> Pair {
    let mut settings = Settings::default();
    settings.add_toml(QUEUES, "apium.toml").unwrap();
    let builder = App::builder("interop").autodiscover(false).config(settings);
    let rust = builder.broker(&*database.url).backend(&*database.url).build().await.unwrap();
    let url = || database.url.clone();
    let python = BorrowedClient::of(vec![("BROKER_URL", url()), ("RESULT_BACKEND", url())]);
    for (exchange, kind) in [("market", "topic"), ("news", "fanout")] {
        python.ask(json!({ "do": "declare", "exchange": exchange, "type": kind })).await;
    }
    Pair { rust, python, producer, worker }
}

async fn by_topic(producer: Side, worker: Side) {
    let (database, folder) = (fresh_database(), folder(QUEUES));
    let running = setup(&database.url, "exchanges", &folder).queues("orders,bids").start(worker);
    let pair = pair(&database, producer, worker).await;
    let run_log = RunLog::new();
    let to = |key: &str| json!({ "exchange": "market", "routing_key": key });
    for key in ["order.new", "order.new.eu", "tea.bid", "order.bid", "tea.bid.eu", "border.x"] {
        pair.call("tasks.log_run", json!([run_log.path(), key]), json!({}), to(key)).await;
    }
    let id = pair.call("tasks.whoami", json!([]), json!({}), to("order.last")).await;
    let seen = pair.get(&id).await.success().clone();
    let from = &seen["delivery_info"];
    assert_eq!((text(&from["exchange"]), text(&from["routing_key"])), ("market".to_owned(), "order.last".to_owned()));
    run_log.wait_for_ends(5, &[&running]).await;
    let mut ran: Vec<String> =
        run_log.lines().into_iter().filter(|line| line[0] == "end").map(|[_, word, _]| word).collect();
    ran.sort();
    assert_eq!(ran, ["order.bid", "order.bid", "order.new", "order.new.eu", "tea.bid"], "order.bid is in both queues");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_of_rust_reaches_queues_of_python() {
    by_topic(Side::Rust, Side::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_of_python_reaches_queues_of_rust() {
    by_topic(Side::Python, Side::Rust).await;
}

async fn by_fanout(producer: Side) {
    let (database, folder) = (fresh_database(), folder(QUEUES));
    let setup = setup(&database.url, "exchanges", &folder).queues("news");
    let python = setup.clone().named("python@peer").start(Side::Python);
    let rust = setup.named("rust@peer").start(Side::Rust);
    let pair = pair(&database, producer, Side::Rust).await;
    let run_log = RunLog::new();
    let options = json!({ "exchange": "news", "routing_key": "celery", "ignore_result": true });
    for word in ["one", "two", "three"] {
        pair.call("tasks.log_run", json!([run_log.path(), word]), json!({}), options.clone()).await;
    }
    run_log.wait_for_ends(6, &[&python, &rust]).await;
    let mut done = run_log.done("end");
    for (word, workers) in &mut done {
        workers.sort();
        assert_eq!(workers, &["python@peer", "rust@peer"], "{word}");
    }
    assert_eq!(done.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fanout_messages_of_rust_reach_workers_of_both_sides() {
    by_fanout(Side::Rust).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fanout_messages_of_python_reach_workers_of_both_sides() {
    by_fanout(Side::Python).await;
}

/// Both workers make the same bindings: the second finds what the first one has made.
async fn by_headers(producer: Side) {
    let (vhost, database, folder) = (fresh_vhost(), fresh_database(), folder(BOUND_BY_HEADERS));
    let setup = setup(&vhost.url, "headers_exchange", &folder).results(&database.url);
    let python = setup.clone().queues("pdfs").named("python@peer").start(Side::Python);
    let rust = setup.queues("texts").named("rust@peer").start(Side::Rust);
    let pair = Pair {
        rust: rust_client::app_with_results(&vhost.url, &database.url, &Vec::new()).await,
        python: BorrowedClient::of(vec![("BROKER_URL", vhost.url.clone()), ("RESULT_BACKEND", database.url.clone())]),
        producer,
        worker: Side::Rust,
    };
    let run_log = RunLog::new();
    for (word, headers) in [
        ("pdf", json!({ "format": "pdf", "copies": 2 })),
        ("text", json!({ "format": "text", "plain": false })),
        ("plain", json!({ "plain": true, "copies": 1 })),
    ] {
        let options = json!({ "exchange": "reports", "routing_key": "none", "headers": headers });
        pair.call("tasks.log_run", json!([run_log.path(), word]), json!({}), options).await;
    }
    run_log.wait_for_ends(3, &[&python, &rust]).await;
    let done = run_log.done("end");
    for (word, worker) in [("pdf", "python@peer"), ("text", "rust@peer"), ("plain", "rust@peer")] {
        assert_eq!(done[word], [worker], "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn headers_of_rust_reach_queues_of_both_sides() {
    by_headers(Side::Rust).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn headers_of_python_reach_queues_of_both_sides() {
    by_headers(Side::Python).await;
}
