//! The flows on every store: Rust alone, and Rust with Celery.

use apium_peers::redis_server::fresh_database;

use crate::canvas::case;
use crate::canvas::draw;
use crate::canvas::flow::{Flow, Owners};
use crate::canvas::ground::Ground;
use crate::canvas::run::check;
use crate::side::Side;

/// Every case with nothing but Rust.
async fn rust_alone(url: &str) {
    let flow = |case| Flow { case, owners: Owners::Rust, sender: Side::Rust };
    let flows: Vec<Flow> = case::all().iter().map(flow).collect();
    check(Ground::rust(url).await, &flows, "all cases in Rust alone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_becomes_what_it_becomes_with_celery_on_memory() {
    rust_alone("memory://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_becomes_what_it_becomes_with_celery_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    rust_alone(&format!("sqlite://{}", folder.path().join("queue.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_becomes_what_it_becomes_with_celery_on_redis_whoever_runs_what() {
    let (flows, how) = draw::flows();
    println!("{how}");
    check(Ground::mixed(&fresh_database().url).await, &flows, &how).await;
}
