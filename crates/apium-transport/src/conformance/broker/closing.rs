//! Closed handles.

use std::fmt::Debug;

use apium_protocol::result::state::State;

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

/// After close every operation of a broker says so, and closing again is no error.
pub async fn a_closed_broker_says_so(f: Fixture) {
    let broker = &f.broker;
    broker.close().await.expect("could not close");
    broker.close().await.expect("could not close again");
    assert_closed("publish", broker.publish(vec![to("q", "m")]).await);
    let topology = Topology { queues: vec![Queue::new("q")] };
    assert_closed("declare", broker.declare(&topology).await);
    assert_closed("consume", broker.consume(f.spec(&["q"])).await.map(drop));
    if let Some(admin) = broker.queues() {
        assert_closed("stats", admin.stats().await);
        assert_closed("peek", admin.peek("q", 1).await);
        assert_closed("purge", admin.purge("q").await);
        assert_closed("delete", admin.delete("q").await);
        assert_closed("consumers_named", admin.consumers_named("n").await);
    }
    if let Some(dead) = broker.dead() {
        assert_closed("list", dead.list(0, 1).await);
        assert_closed("get", dead.get(1).await);
        assert_closed("replay", dead.replay(vec![1]).await);
        assert_closed("remove", dead.remove(vec![1]).await);
        assert_closed("count", dead.count().await);
    }
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

/// After close every operation of a result backend says so, and closing again is no error.
pub async fn a_closed_backend_says_so(f: Fixture) {
    let backend = &f.backend;
    backend.close().await.expect("could not close");
    backend.close().await.expect("could not close again");
    assert_closed("store", backend.store(vec![record("t", State::Success, None)]).await);
    assert_closed("fetch", backend.fetch(&["t".into()]).await);
    assert_closed("watch", backend.watch(vec!["t".into()]).await.map(drop));
    assert_closed("forget", backend.forget(vec!["t".into()]).await);
    assert_closed("purge_expired", backend.purge_expired().await);
    if let Some(groups) = backend.groups() {
        assert_closed("load_group", groups.load_group("g").await);
        assert_closed("delete_group", groups.delete_group("g").await);
    }
}

/// A watch that waits while its backend is closed does not wait for ever.
pub async fn closing_ends_a_watch(f: Fixture) {
    use futures_util::StreamExt;

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
