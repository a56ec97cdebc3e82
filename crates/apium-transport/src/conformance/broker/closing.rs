//! Closed handles.

use std::fmt::Debug;

use apium_protocol::result::state::State;
use futures_util::StreamExt;

use crate::broker::topology::{Queue, Topology};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{join, record, soon, to};
use crate::error::{ErrorKind, Result};

fn assert_closed<T: Debug>(what: &str, result: Result<T>) {
    match result {
        Ok(value) => panic!("{what} on a closed handle returned {value:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}"),
    }
}

async fn close_broker(f: &Fixture) {
    f.broker.close().await.expect("could not close");
    f.broker.close().await.expect("could not close again");
}

/// After close every operation of a broker says so, and closing again is no error.
pub async fn a_closed_broker_says_so(f: Fixture) {
    close_broker(&f).await;
    let broker = &f.broker;
    assert_closed("publish", broker.publish(vec![to("q", "m")]).await);
    let topology = Topology { queues: vec![Queue::new("q")] };
    assert_closed("declare", broker.declare(&topology).await);
    assert_closed("consume", broker.consume(f.spec(&["q"])).await.map(drop));
    assert_closed("depth", f.queues().depth("q").await);
    assert_closed("purge", f.queues().purge("q").await);
    assert_closed("delete", f.queues().delete("q").await);
}

/// A closed broker shows and counts nothing.
pub async fn a_closed_broker_counts_nothing(f: Fixture) {
    close_broker(&f).await;
    assert_closed("peek", f.messages().peek("q", 1).await);
    assert_closed("stats", f.counts().stats().await);
    assert_closed("consumers_named", f.consumers().consumers_named("n").await);
}

/// The dead set of a closed broker says so.
pub async fn a_closed_dead_set_says_so(f: Fixture) {
    close_broker(&f).await;
    let dead = f.dead();
    assert_closed("list", dead.list(0, 1).await);
    assert_closed("get", dead.get(1).await);
    assert_closed("replay", dead.replay(vec![1]).await);
    assert_closed("remove", dead.remove(vec![1]).await);
    assert_closed("count", dead.count().await);
}

/// A consumer that waits while its broker is closed does not wait for ever.
pub async fn closing_ends_a_wait(f: Fixture) {
    let mut consumer = f.consumer(&["q"]).await;
    let (waited, closed) = join(soon("the end of the wait", consumer.next(1)), async {
        tokio::task::yield_now().await;
        f.broker.close().await
    })
    .await;
    closed.expect("could not close");
    assert_closed("next", waited);
    consumer.close().await.expect("could not close a consumer after its broker");
}

async fn close_backend(f: &Fixture) {
    f.backend.close().await.expect("could not close");
    f.backend.close().await.expect("could not close again");
}

/// After close every operation of a result backend says so, and closing again is no error.
pub async fn a_closed_backend_says_so(f: Fixture) {
    close_backend(&f).await;
    assert_closed("store", f.backend.store(vec![record("t", State::Success, None)]).await);
    assert_closed("watch", f.backend.watch(vec!["t".into()]).await.map(drop));
}

/// The stored results of a closed backend say so.
pub async fn closed_results_say_so(f: Fixture) {
    close_backend(&f).await;
    assert_closed("fetch", f.stored().fetch(&["t".into()]).await);
    assert_closed("forget", f.stored().forget(vec!["t".into()]).await);
    assert_closed("purge_expired", f.stored().purge_expired().await);
}

/// The groups of a closed backend say so.
pub async fn closed_groups_say_so(f: Fixture) {
    close_backend(&f).await;
    assert_closed("load_group", f.groups().load_group("g").await);
    assert_closed("delete_group", f.groups().delete_group("g").await);
}

/// A watch that waits while its backend is closed does not wait for ever.
pub async fn closing_ends_a_watch(f: Fixture) {
    let mut stream = f.backend.watch(vec!["t".into()]).await.expect("could not watch");
    let (seen, closed) = join(soon("the end of the watch", stream.next()), async {
        tokio::task::yield_now().await;
        f.backend.close().await
    })
    .await;
    closed.expect("could not close");
    match seen {
        Some(state) => assert_closed("watch", state),
        None => panic!("the stream ended as if the task were ready"),
    }
}
