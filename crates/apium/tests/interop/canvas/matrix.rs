//! The flows on every store: Rust alone, and Rust with Celery.

use apium_peers::redis_server::fresh_database;

use crate::canvas::case;
use crate::canvas::flow::{Flow, Owners};
use crate::canvas::rows;
use crate::canvas::run::check;
use crate::canvas::selection;
use crate::canvas::workers::Workers;
use crate::kit::side::Side;

/// Runs every case with Rust alone.
async fn rust_alone(url: &str) {
    let flow = |case| Flow { case, owners: Owners::Rust, sender: Side::Rust };
    let flows: Vec<Flow> = case::all().iter().chain(rows::all()).map(flow).collect();
    check(Workers::rust(url).await, &flows, "all cases in Rust alone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_the_outcome_of_celery_on_memory() {
    rust_alone("memory://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_the_outcome_of_celery_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    rust_alone(&format!("sqlite://{}", folder.path().join("queue.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_of_both_sides_have_the_outcome_of_celery_on_redis() {
    let (flows, how) = selection::flows();
    println!("{how}");
    check(Workers::mixed(&fresh_database().url).await, &flows, &how).await;
}
