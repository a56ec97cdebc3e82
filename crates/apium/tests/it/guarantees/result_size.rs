//! A result that is too large is a failure that says so: by a setting on every driver, and where the store refuses it.

use apium::prelude::*;
use apium::worker::StopKind;
use apium_sqlite::faults::DiskFaults;

use crate::fixture::{Fixture, Records, records};
use crate::live::{PATIENCE, counts, live, start, stop, wait_until};

/// Returns a text of so many bytes. An automatic retry would not make it smaller.
#[task(name = "sizes.text", acks_late, autoretry_for(any), max_retries = 5)]
async fn text(State(records): State<Records>, bytes: usize) -> TaskResult<String> {
    records.add("ran");
    Ok("x".repeat(bytes))
}

/// Fails with a text of so many bytes.
#[task(name = "sizes.fail", acks_late)]
async fn fail(bytes: usize) -> TaskResult<()> {
    Err(TaskError::failure("x".repeat(bytes)))
}

/// Records the length of what it is given.
#[task(name = "sizes.length")]
async fn length(State(records): State<Records>, text: String) -> TaskResult<usize> {
    records.add(format!("length {}", text.len()));
    Ok(text.len())
}

/// The class and the message of a failure.
async fn failure<T: serde::de::DeserializeOwned + Send + 'static>(result: &AsyncResult<T>) -> (String, String) {
    let error = result.get().timeout(PATIENCE).await.err().expect("a failure");
    let failure = error.failure().expect("the failure of the task").exception().clone();
    (failure.exc_type.to_string(), failure.message())
}

on_every_driver! {
    async fn a_result_above_the_limit_is_a_failure_that_names_the_sizes(fixture: &Fixture) {
        let builder = live(fixture).setting("result_size_limit", 1000).setting("result_size_warning", 500);
        let app = builder.register::<text>().register::<fail>().register::<length>().build().await.unwrap();
        let worker = start(&app, 2).await;
        // Two quotes belong to the encoded text.
        let fits = text::delay(998).send(&app).await.unwrap();
        assert_eq!(fits.get().timeout(PATIENCE).await.unwrap().len(), 998);
        assert_eq!(records(&app), ["ran"]);
        let too_large = (text::s(999) | length::p()).send(&app).await.unwrap();
        let (class, message) = failure(&too_large).await;
        assert_eq!(class, "ResultTooLarge");
        assert_eq!(message, "the result has 1001 bytes, and result_size_limit is 1000");
        assert_eq!(records(&app), ["ran"], "it was not retried, and the next step did not run");
        let (class, message) = failure(&fail::delay(2000).send(&app).await.unwrap()).await;
        assert_eq!(class, "ResultTooLarge");
        assert!(message.starts_with("the error TaskError has ") && message.ends_with("is 1000"), "{message}");
        stop(worker, StopKind::Warm).await;
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_the_store_refuses_for_its_size_is_the_same_failure() {
    for acks_late in [true, false] {
        let fixture = Fixture::sqlite();
        let builder = live(&fixture).setting("result_size_warning", 0);
        let builder = builder.setting("task_annotations", serde_json::json!({"*": {"acks_late": acks_late}}));
        let app = builder.register::<text>().register::<length>().build().await.unwrap();
        let path = fixture.url().strip_prefix("sqlite://").unwrap().to_owned();
        DiskFaults { max_length: Some(200_000), ..DiskFaults::default() }.set(path.as_ref()).unwrap();
        let worker = start(&app, 2).await;
        let fits = text::delay(100_000).send(&app).await.unwrap();
        let too_large = (text::s(300_000) | length::p()).send(&app).await.unwrap();
        let (class, message) = failure(&too_large).await;
        assert_eq!(class, "ResultTooLarge", "{message}");
        assert!(message.contains("300002 bytes") && message.contains("larger than SQLite can store"), "{message}");
        assert_eq!(fits.get().timeout(PATIENCE).await.unwrap().len(), 100_000, "its neighbour is stored");
        assert_eq!(records(&app), ["ran", "ran"], "the next step did not run");
        wait_until("nothing is in flight", async || counts(&app).await.unacked == 0).await;
        assert_eq!(app.broker().dead().unwrap().count().await.unwrap(), 0);
        stop(worker, StopKind::Warm).await;
    }
}
