//! Watching results: nothing missed, in order, and an end (P17).

use std::collections::BTreeMap;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use futures_util::{FutureExt, StreamExt};

use crate::backend::backend::ResultStream;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{join, mark, numbered, record, soon};

async fn watch(f: &Fixture, ids: &[&str]) -> ResultStream {
    let ids = ids.iter().copied().map(TaskId::from).collect();
    soon("a watch", f.backend.watch(ids)).await.expect("could not watch")
}

async fn store(f: &Fixture, id: &str, state: State) {
    let stored = f.backend.store(vec![record(id, state, mark(0, 1))]).await;
    stored.expect("could not store");
}

async fn news(stream: &mut ResultStream) -> Option<ResultDocument> {
    soon("a state", stream.next()).await.map(|state| state.expect("could not watch on"))
}

async fn all_states(mut stream: ResultStream) -> Vec<State> {
    let mut all = Vec::new();
    while let Some(document) = news(&mut stream).await {
        all.push(document.state);
    }
    all
}

/// Who begins to watch a task that is ready sees its ready state, and the end.
pub async fn a_late_watcher_sees_the_ready_state(f: Fixture) {
    for (id, state) in [("a", State::Success), ("b", State::Failure), ("c", State::Revoked)] {
        store(&f, id, state.clone()).await;
        assert_eq!(all_states(watch(&f, &[id]).await).await, [state]);
    }
}

/// Who begins to watch a running task sees its state now, and its ready state last.
pub async fn a_watcher_sees_the_state_of_now(f: Fixture) {
    store(&f, "t", State::Started).await;
    let mut stream = watch(&f, &["t"]).await;
    assert_eq!(news(&mut stream).await.map(|document| document.state), Some(State::Started));
    store(&f, "t", State::Success).await;
    assert_eq!(all_states(stream).await, [State::Success]);
}

/// A watcher from the beginning sees the states in order, each one where the backend says so, the ready one last.
pub async fn a_watcher_sees_states_in_order(f: Fixture) {
    let states = ["STARTED", "PROGRESS", "SENDING", "RETRY", "STARTED", "SUCCESS"].map(State::from);
    let stream = watch(&f, &["t"]).await;
    let write = async {
        for state in &states {
            store(&f, "t", state.clone()).await;
            tokio::task::yield_now().await;
        }
    };
    let (seen, ()) = join(all_states(stream), write).await;
    assert_eq!(seen.last(), Some(&State::Success));
    if f.backend.capabilities().every_state {
        assert_eq!(seen, states);
    } else {
        let mut left = states.iter();
        assert!(seen.iter().all(|state| left.any(|other| other == state)), "out of order: {seen:?}");
    }
}

/// What the overwrite rule keeps is no news; other tasks are none either.
pub async fn only_what_was_written_is_news(f: Fixture) {
    let mut stream = watch(&f, &["t"]).await;
    store(&f, "other", State::Success).await;
    f.backend.store(vec![record("t", State::Started, mark(2, 1))]).await.expect("could not store");
    assert_eq!(news(&mut stream).await.map(|document| document.state), Some(State::Started));
    store(&f, "t", State::Retry).await;
    store(&f, "t", State::Failure).await;
    assert_eq!(all_states(stream).await, [State::Failure]);
}

/// Many tasks are watched at once; the stream ends after the last one is ready.
pub async fn many_tasks_are_watched_at_once(f: Fixture) {
    let ids = numbered("t", 200);
    store(&f, "t0", State::Success).await;
    store(&f, "t1", State::Started).await;
    let all: Vec<&str> = ids.iter().map(String::as_str).chain(["t0", "t5"]).collect();
    let mut stream = watch(&f, &all).await;
    let collect = async {
        let mut ready = BTreeMap::new();
        while let Some(document) = news(&mut stream).await {
            assert!(!ready.contains_key(&document.task_id), "news of {} after its ready state", document.task_id);
            if document.state.is_ready() {
                ready.insert(document.task_id, document.state);
            }
        }
        ready
    };
    let write = async {
        for id in ids.iter().skip(1).rev() {
            store(&f, id, State::Started).await;
            store(&f, id, if id.ends_with('7') { State::Failure } else { State::Success }).await;
        }
    };
    let (ready, ()) = join(collect, write).await;
    assert_eq!(ready.len(), 200);
    for (id, state) in ready {
        assert_eq!(state == State::Failure, id.as_str().ends_with('7'), "{id}");
    }
}

/// The stream does not end before the last task is ready, and ends at once where there is none.
pub async fn the_stream_ends_with_the_last_task(f: Fixture) {
    let empty = watch(&f, &[]).await;
    assert_eq!(all_states(empty).await, []);
    store(&f, "a", State::Success).await;
    let mut stream = watch(&f, &["a", "b"]).await;
    assert_eq!(news(&mut stream).await.map(|document| document.task_id), Some(TaskId::from("a")));
    assert!(stream.next().now_or_never().is_none(), "the stream ended before the last task was ready");
    store(&f, "b", State::Revoked).await;
    assert_eq!(all_states(stream).await, [State::Revoked]);
}

/// A ready state that is stored while the watch begins is never missed.
pub async fn no_ready_state_is_missed(f: Fixture) {
    for id in numbered("t", 60) {
        let (seen, ()) = join(async { all_states(watch(&f, &[&id]).await).await }, async {
            store(&f, &id, State::Started).await;
            store(&f, &id, State::Success).await;
        })
        .await;
        assert_eq!(seen.last(), Some(&State::Success), "{id}: {seen:?}");
    }
}

/// Several watchers of one task all see it; one that is dropped disturbs nobody.
pub async fn watchers_do_not_disturb_each_other(f: Fixture) {
    let (first, second, third) = (watch(&f, &["t"]).await, watch(&f, &["t", "u"]).await, watch(&f, &["t"]).await);
    drop(second);
    let write = async { store(&f, "t", State::Success).await };
    let ((first, third), ()) = join(join(all_states(first), all_states(third)), write).await;
    assert_eq!((first, third), (vec![State::Success], vec![State::Success]));
}
