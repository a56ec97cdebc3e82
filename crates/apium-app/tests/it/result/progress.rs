//! How far a group is: one cheap call, or a stream.

use apium_app::app::app::App;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::group_result::GroupResult;
use apium_app::result::progress::Progress;
use apium_protocol::json::text::Json;
use apium_transport::backend::chord::ChordCount;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

use crate::kit;
use crate::result::trees::{fail, soon, store, tuple};
use crate::result::watched_backend::{self, Seen};

const HEADER: &str = r#"[["header", null], [[["a", null], null], [["b", null], null], [["c", null], null]]]"#;

fn body(app: &App) -> AsyncResult<i64> {
    AsyncResult::of_tuple(app, &tuple(&format!(r#"[["body", {HEADER}], null]"#)))
}

fn of(done: u64, total: u64) -> Progress {
    Progress::new(done, total)
}

fn fetch(ids: &[&str]) -> Seen {
    Seen::Fetch(ids.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_group_reads_once_what_is_not_known_to_be_over() {
    let (app, eye) = watched_backend::app().await;
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(HEADER));
    assert_eq!((group.progress().await.unwrap(), eye.take()), (of(0, 3), vec![fetch(&["a", "b", "c"])]));
    store(&app, "b", "SUCCESS", "2").await;
    assert_eq!((group.progress().await.unwrap(), eye.take()), (of(1, 3), vec![fetch(&["a", "b", "c"])]));
    fail(&app, "a", "builtins.ValueError", "boom").await;
    assert_eq!((group.progress().await.unwrap(), eye.take()), (of(2, 3), vec![fetch(&["a", "c"])]));
    store(&app, "c", "SUCCESS", "3").await;
    let over = group.progress().await.unwrap();
    assert_eq!((over, eye.take()), (of(3, 3), vec![fetch(&["c"])]));
    assert!(over.is_complete() && over.fraction() == 1.0);
    assert_eq!((group.progress().await.unwrap(), eye.take()), (of(3, 3), vec![]));
}

#[tokio::test]
async fn a_chord_that_is_open_is_asked_for_its_counter_alone() {
    let (app, eye) = watched_backend::app().await;
    let body = body(&app);
    eye.set_count("header", Some(ChordCount::new(2, 3)));
    let count = Seen::Count("header".into());
    assert_eq!((body.progress().await.unwrap(), eye.take()), (of(2, 3), vec![count.clone()]));
    let header = body.parent().unwrap().group().unwrap();
    assert_eq!((header.progress().await.unwrap(), eye.take()), (of(2, 3), vec![count.clone()]));
    // It is over, and its header's results are ignored: the body's tells.
    eye.set_count("header", None);
    store(&app, "body", "SUCCESS", "6").await;
    let fetched = fetch(&["a", "b", "body", "c"]);
    assert_eq!((body.progress().await.unwrap(), eye.take()), (of(3, 3), vec![count, fetched]));
    assert_eq!((body.progress().await.unwrap(), eye.take()), (of(3, 3), vec![]));
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
async fn a_stream_tells_of_each_end_and_then_ends() {
    let (app, eye) = watched_backend::app().await;
    store(&app, "a", "SUCCESS", "1").await;
    let group = GroupResult::<i64>::of_tuple(&app, &tuple(HEADER));
    let mut stream = std::pin::pin!(group.progress_stream());
    assert_eq!(stream.next().await.unwrap().unwrap(), of(0, 3));
    assert_eq!(stream.next().await.unwrap().unwrap(), of(1, 3));
    assert!(stream.next().now_or_never().is_none());
    store(&app, "b", "STARTED", "null").await;
    assert!(stream.next().now_or_never().is_none(), "only ends are told of");
    fail(&app, "b", "builtins.ValueError", "boom").await;
    store(&app, "c", "SUCCESS", "3").await;
    let rest: Vec<Progress> = soon(stream.try_collect()).await.unwrap();
    assert_eq!(rest, [of(2, 3), of(3, 3)]);
    assert_eq!(eye.take(), [Seen::Watch(["a", "b", "c"].map(Into::into).into())]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_chord_ends_with_its_body() {
    let (app, _) = kit::app().await;
    store(&app, "a", "SUCCESS", "1").await;
    store(&app, "body", "SUCCESS", "1").await;
    let all: Vec<Progress> = soon(body(&app).progress_stream().try_collect()).await.unwrap();
    assert_eq!((all.first(), all.last()), (Some(&of(0, 3)), Some(&of(3, 3))));
}

#[tokio::test(start_paused = true)]
async fn members_of_groups_inside_are_counted_and_what_will_never_run_is_over() {
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
