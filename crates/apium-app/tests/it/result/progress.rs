//! The progress of groups and workflows: one call, or a stream.

use apium_app::app::app::App;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::group_result::GroupResult;
use apium_app::result::progress::Progress;
use apium_protocol::json::text::Json;
use apium_transport::backend::chord::ChordCount;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use crate::kit;
use crate::result::trees::{fail, soon, store, tuple};
use crate::result::watched_backend::{self, BackendCall};

const HEADER: &str = r#"[["header", null], [[["a", null], null], [["b", null], null], [["c", null], null]]]"#;

fn body(app: &App) -> AsyncResult<i64> {
    AsyncResult::of_tuple(app, &tuple(&format!(r#"[["body", {HEADER}], null]"#)))
}

fn of(done: u64, total: u64) -> Progress {
    Progress::new(done, total)
}

fn fetch(ids: &[&str]) -> BackendCall {
    BackendCall::Fetch(ids.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn the_progress_of_a_group_reads_unfinished_tasks_at_once() {
    let (app, recorder) = watched_backend::app().await;
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(HEADER));
    assert_eq!((group.progress().await.unwrap(), recorder.take()), (of(0, 3), vec![fetch(&["a", "b", "c"])]));
    store(&app, "b", "SUCCESS", "2").await;
    assert_eq!((group.progress().await.unwrap(), recorder.take()), (of(1, 3), vec![fetch(&["a", "b", "c"])]));
    fail(&app, "a", "builtins.ValueError", "boom").await;
    assert_eq!((group.progress().await.unwrap(), recorder.take()), (of(2, 3), vec![fetch(&["a", "c"])]));
    store(&app, "c", "SUCCESS", "3").await;
    let over = group.progress().await.unwrap();
    assert_eq!((over, recorder.take()), (of(3, 3), vec![fetch(&["c"])]));
    assert!(over.is_complete() && over.fraction() == 1.0);
    assert_eq!((group.progress().await.unwrap(), recorder.take()), (of(3, 3), vec![]));
}

#[tokio::test]
async fn the_progress_of_an_open_chord_reads_its_counter_only() {
    let (app, recorder) = watched_backend::app().await;
    let body = body(&app);
    recorder.set_count("header", Some(ChordCount::new(2, 3)));
    let count = BackendCall::Count("header".into());
    assert_eq!((body.progress().await.unwrap(), recorder.take()), (of(2, 3), vec![count.clone()]));
    let header = body.parent().unwrap().group().unwrap();
    assert_eq!((header.progress().await.unwrap(), recorder.take()), (of(2, 3), vec![count.clone()]));
    // The chord is complete, and the results of its header are ignored: the result of the body says so.
    recorder.set_count("header", None);
    store(&app, "body", "SUCCESS", "6").await;
    let fetched = fetch(&["a", "b", "body", "c"]);
    assert_eq!((body.progress().await.unwrap(), recorder.take()), (of(3, 3), vec![count, fetched]));
    assert_eq!((body.progress().await.unwrap(), recorder.take()), (of(3, 3), vec![]));
}

#[tokio::test]
async fn the_tasks_of_a_chain_are_counted() {
    let (app, _) = kit::app().await;
    let last = AsyncResult::<i64>::of_tuple(&app, &tuple(r#"[["t2", [["t1", null], null]], null]"#));
    assert_eq!(last.progress().await.unwrap(), of(0, 2));
    store(&app, "t1", "SUCCESS", "1").await;
    assert_eq!(last.progress().await.unwrap(), of(1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_progress_stream_yields_at_each_ready_task_and_then_ends() {
    let (app, recorder) = watched_backend::app().await;
    store(&app, "a", "SUCCESS", "1").await;
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(HEADER));
    let mut stream = std::pin::pin!(group.progress_stream());
    assert_eq!(stream.next().await.unwrap().unwrap(), of(0, 3));
    assert_eq!(stream.next().await.unwrap().unwrap(), of(1, 3));
    assert!(stream.next().now_or_never().is_none());
    store(&app, "b", "STARTED", "null").await;
    assert!(stream.next().now_or_never().is_none(), "the stream yields only when a task is ready");
    fail(&app, "b", "builtins.ValueError", "boom").await;
    store(&app, "c", "SUCCESS", "3").await;
    let rest: Vec<Progress> = soon(stream.try_collect()).await.unwrap();
    assert_eq!(rest, [of(2, 3), of(3, 3)]);
    assert_eq!(recorder.take(), [BackendCall::Watch(["a", "b", "c"].map(Into::into).into())]);
}

#[tokio::test(start_paused = true)]
async fn the_progress_stream_of_a_chord_ends_when_its_body_is_ready() {
    let (app, _) = kit::app().await;
    store(&app, "a", "SUCCESS", "1").await;
    store(&app, "body", "SUCCESS", "1").await;
    let all: Vec<Progress> = soon(body(&app).progress_stream().try_collect()).await.unwrap();
    assert_eq!((all.first(), all.last()), (Some(&of(0, 3)), Some(&of(3, 3))));
}

#[tokio::test(start_paused = true)]
async fn progress_counts_members_of_nested_groups_and_tasks_that_never_run() {
    let (app, _) = kit::app().await;
    let nested = r#"[["g", null], [[["in", null], [[["y", null], null], [["z", null], null]]], [["w2", [["w1", null], null]], null]]]"#;
    let group = GroupResult::<Json>::of_tuple(&app, &tuple(nested));
    store(&app, "y", "SUCCESS", "1").await;
    assert_eq!(group.progress().await.unwrap(), of(1, 3));
    fail(&app, "w1", "builtins.ValueError", "boom").await;
    store(&app, "z", "SUCCESS", "1").await;
    let all: Vec<Progress> = soon(group.progress_stream().try_collect()).await.unwrap();
    assert_eq!(all.last(), Some(&of(3, 3)));
    let nothing = GroupResult::<Json>::new(&app, "nothing", Vec::new());
    assert!(nothing.progress().await.unwrap().is_complete());
}
