//! What a program without the feature `autodiscover` names by hand is used, and what it does not name is not.

use apium::prelude::*;
use apium_by_hand::{app, forgotten, halve};

#[tokio::test]
async fn a_worker_runs_the_tasks_that_are_named_and_knows_the_error_types() {
    let app = app().build().await.unwrap();
    let half = halve::delay(42).send(&app).await.unwrap();
    let odd = halve::delay(7).send(&app).await.unwrap();
    let worker = app.worker().concurrency(1);
    let error = std::sync::Mutex::new(String::new());
    worker
        .run_until(async {
            assert_eq!(half.get().await.unwrap(), 21);
            *error.lock().unwrap() = format!("{:#}", odd.get().await.unwrap_err());
        })
        .await
        .unwrap();
    let error = error.into_inner().unwrap();
    assert!(error.contains("ValueError(7, 'odd')"), "{error}");
    app.close().await.unwrap();
}

#[tokio::test]
async fn a_task_that_is_not_named_is_unknown() {
    let app = app().build().await.unwrap();
    let names: Vec<String> = app.registry().iter().map(|task| task.name.to_string()).collect();
    assert_eq!(names, [halve::NAME]);
    assert_eq!(forgotten::NAME, "by_hand.forgotten");
}

#[tokio::test]
async fn a_test_app_has_the_memory_driver() {
    let app = App::test().with(|app| app.autodiscover(false).register::<halve>()).build().await.unwrap();
    let half = halve::delay(8).send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(half.get().await.unwrap(), 4);
}
