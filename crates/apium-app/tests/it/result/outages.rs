//! What a caller asks of a store that is out of reach for a moment: it is asked again, under the policy of publishing.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::{IntoNode, Node};
use apium_app::canvas::send::send;
use apium_app::error::{Error, ErrorKind};
use apium_app::result::async_result::AsyncResult;
use apium_app::result::group_result::GroupResult;
use apium_app::result::progress::Progress;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::ChordCount;
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::kit::Add;
use crate::result::trees::{store, tuple};
use crate::result::watched_backend::{self, CallRecorder};

/// The default policy tries four times.
const TRIES: usize = 4;

/// An app whose store refuses all tries but the last of the next operation.
async fn app() -> (App, CallRecorder) {
    let (app, recorder) = watched_backend::app().await;
    store(&app, "ready", "SUCCESS", "3").await;
    (app, recorder)
}

fn result(app: &App, id: &str) -> AsyncResult<i64> {
    AsyncResult::of_tuple(app, &tuple(&format!(r#"[["{id}", null], null]"#)))
}

/// Lets the next operation succeed with its last try.
fn refuse(recorder: &CallRecorder) {
    assert_eq!(recorder.refusals(), 0, "the operation before tried until it had an answer");
    recorder.refuse(TRIES - 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_asks_of_a_store_is_asked_again_until_it_answers() {
    let (app, recorder) = app().await;
    refuse(&recorder);
    assert_eq!(result(&app, "ready").state().await.unwrap(), State::Success);
    refuse(&recorder);
    assert_eq!(result(&app, "ready").get().await.unwrap(), 3);
    refuse(&recorder);
    let mut states = result(&app, "ready").watch().await.unwrap();
    assert_eq!(states.next().await.unwrap().unwrap().state, State::Success);
    let header = r#"[["header", null], [[["ready", null], null], [["c", null], null]]]"#;
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(header));
    refuse(&recorder);
    assert_eq!(group.progress().await.unwrap(), Progress::new(1, 2));
    refuse(&recorder);
    group.save().await.unwrap();
    refuse(&recorder);
    assert!(app.restore::<i64>("header").await.unwrap().is_some());
    refuse(&recorder);
    assert!(GroupResult::<i64>::restore(&app, "header").await.unwrap().is_some());
    refuse(&recorder);
    group.delete().await.unwrap();
    assert!(app.restore::<i64>("header").await.unwrap().is_none());
    refuse(&recorder);
    result(&app, "waits").abort().await.unwrap();
    assert!(result(&app, "waits").is_aborted().await.unwrap());
    refuse(&recorder);
    result(&app, "ready").forget().await.unwrap();
    assert_eq!(result(&app, "ready").state().await.unwrap(), State::Pending);
    assert_eq!(recorder.refusals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_chord_is_opened_again_until_the_store_answers() {
    let (app, recorder) = app().await;
    refuse(&recorder);
    let node = |x| Add::s(x, x).into_node().unwrap();
    let sent = send(&app, Node::chord([node(1), node(2)], node(3))).await.unwrap();
    let body = AsyncResult::<i64>::of_tuple(&app, &sent);
    refuse(&recorder);
    assert_eq!(body.progress().await.unwrap(), Progress::new(0, 2));
    let header = body.parent().unwrap().id().clone();
    recorder.set_count(header.as_str(), Some(ChordCount::new(1, 2)));
    assert_eq!(body.progress().await.unwrap(), Progress::new(1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_an_error_within_the_time_of_publishing() {
    let (app, recorder) = app().await;
    let start = Instant::now();
    recorder.refuse(usize::MAX);
    let error: Error = result(&app, "ready").state().await.unwrap_err();
    assert_eq!((error.kind(), error.is_connection()), (ErrorKind::Backend, true), "{error:#}");
    assert_eq!(usize::MAX - recorder.refusals(), TRIES);
    assert_eq!(start.elapsed(), Duration::from_millis(400));
}
