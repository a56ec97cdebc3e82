//! Priorities: kombu's lists for each step, and both workers claim lower numbers first.

use apium_peers::redis::Commands;
use apium_peers::redis_server::fresh_database;
use serde_json::json;

use crate::kit::pair::Pair;
use crate::kit::python_client::BorrowedClient;
use crate::kit::run_log::RunLog;
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::Setup;

/// The lists of the queue `celery`, by step.
const LISTS: [&str; 4] = ["celery", "celery\x06\x163", "celery\x06\x166", "celery\x06\x169"];

async fn lower_numbers_first(producer: Side, worker: Side) {
    let database = fresh_database();
    let setup = Setup::new(&database.url).slots(1).set("worker_prefetch_multiplier", json!(1));
    let url = database.url.clone();
    let python = BorrowedClient::of(vec![("BROKER_URL", url.clone()), ("RESULT_BACKEND", url.clone())]);
    let pair = Pair { rust: rust_client::app(&url, &vec![]).await, python, producer, worker };
    let run_log = RunLog::new();
    let mut sent = Vec::new();
    for priority in [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 9, 3, 0] {
        let word = format!("p{priority}-{}", sent.len());
        pair.call("tasks.log_run", json!([run_log.path(), word]), json!({}), json!({ "priority": priority })).await;
        sent.push((priority / 3, sent.len(), word));
    }
    let mut connection = database.connection();
    let lengths: Vec<usize> = LISTS.iter().map(|list| connection.llen(list).unwrap()).collect();
    assert_eq!(lengths, [4, 4, 3, 2], "steps 0, 3, 6 and 9");

    let worker = setup.start(worker);
    run_log.wait_for("end", sent.len(), &[&worker]).await;
    let ran: Vec<String> =
        run_log.lines().into_iter().filter(|line| line[0] == "begin").map(|[_, word, _]| word).collect();
    sent.sort();
    let expected: Vec<String> = sent.into_iter().map(|(.., word)| word).collect();
    assert_eq!(ran, expected, "by step, and within one in the order they were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rust_sends_and_python_claims_lower_numbers_first() {
    lower_numbers_first(Side::Rust, Side::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn python_sends_and_rust_claims_lower_numbers_first() {
    lower_numbers_first(Side::Python, Side::Rust).await;
}
