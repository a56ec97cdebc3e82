//! Watching results: nothing is missed, states come in order, and a stream ends.

use std::collections::BTreeMap;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use futures_util::{FutureExt, StreamExt};

use crate::backend::backend::ResultStream;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{join, numbered, record, run, soon};

async fn watch(f: &Fixture, ids: &[&str]) -> ResultStream {
    let ids = ids.iter().copied().map(TaskId::from).collect();
    soon("a watch", f.backend.watch(ids)).await.expect("could not watch")
}

async fn store(f: &Fixture, id: &str, state: State) {
    let stored = f.backend.store(vec![record(id, state, run(0, 1))]).await;
    stored.expect("could not store");
}

async fn next_state(stream: &mut ResultStream) -> Option<ResultDocument> {
    soon("a state", stream.next()).await.map(|state| state.expect("could not watch on"))
}

async fn all_states(mut stream: ResultStream) -> Vec<State> {
    let mut all = Vec::new();
    while let Some(document) = next_state(&mut stream).await {
        all.push(document.state);
    }
    all
}

/// A watch of a task that is ready brings its ready state, and ends.
pub async fn a_late_watch_brings_the_ready_state(f: Fixture) {
    for (id, state) in [("a", State::Success), ("b", State::Failure), ("c", State::Revoked)] {
        store(&f, id, state.clone()).await;
        assert_eq!(all_states(watch(&f, &[id]).await).await, [state]);
    }
}

/// A watch of a running task brings the state that is stored now, and its ready state last.
pub async fn a_watch_brings_the_stored_state(f: Fixture) {
    store(&f, "t", State::Started).await;
    let mut stream = watch(&f, &["t"]).await;
    assert_eq!(next_state(&mut stream).await.map(|document| document.state), Some(State::Started));
    store(&f, "t", State::Success).await;
    assert_eq!(all_states(stream).await, [State::Success]);
}

/// A watch brings the states in order, every one if the backend says so, and the ready one last.
pub async fn a_watch_brings_states_in_order(f: Fixture) {
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
        let mut others = states.iter();
        assert!(seen.iter().all(|state| others.any(|other| other == state)), "out of order: {seen:?}");
    }
}

/// A watch brings neither what the overwrite rule refused nor the states of other tasks.
pub async fn a_watch_brings_only_what_was_written(f: Fixture) {
    let mut stream = watch(&f, &["t"]).await;
    store(&f, "other", State::Success).await;
    f.backend.store(vec![record("t", State::Started, run(2, 1))]).await.expect("could not store");
    assert_eq!(next_state(&mut stream).await.map(|document| document.state), Some(State::Started));
    store(&f, "t", State::Retry).await;
    store(&f, "t", State::Failure).await;
    assert_eq!(all_states(stream).await, [State::Failure]);
}

/// One watch can have many tasks; its stream ends after the last one is ready.
pub async fn many_tasks_are_watched_at_once(f: Fixture) {
    let ids = numbered("t", 200);
    store(&f, "t0", State::Success).await;
    store(&f, "t1", State::Started).await;
    let all: Vec<&str> = ids.iter().map(String::as_str).chain(["t0", "t5"]).collect();
    let mut stream = watch(&f, &all).await;
    let collect = async {
        let mut ready = BTreeMap::new();
        while let Some(document) = next_state(&mut stream).await {
            assert!(!ready.contains_key(&document.task_id), "a state of {} after its ready state", document.task_id);
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

/// A stream does not end before its last task is ready, and a watch of no task ends at once.
pub async fn the_stream_ends_with_the_last_task(f: Fixture) {
    let empty = watch(&f, &[]).await;
    assert_eq!(all_states(empty).await, []);
    store(&f, "a", State::Success).await;
    let mut stream = watch(&f, &["a", "b"]).await;
    assert_eq!(next_state(&mut stream).await.map(|document| document.task_id), Some(TaskId::from("a")));
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

/// Several watches of one task all bring its states; a dropped one disturbs no other.
pub async fn watches_do_not_disturb_each_other(f: Fixture) {
    let (first, second, third) = (watch(&f, &["t"]).await, watch(&f, &["t", "u"]).await, watch(&f, &["t"]).await);
    drop(second);
    let write = async { store(&f, "t", State::Success).await };
    let ((first, third), ()) = join(join(all_states(first), all_states(third)), write).await;
    assert_eq!((first, third), (vec![State::Success], vec![State::Success]));
}
