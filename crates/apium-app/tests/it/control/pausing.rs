//! Pausing and resuming of queues.

use crate::control::fake_worker::FakeWorker;
use crate::kit;

#[tokio::test]
async fn a_paused_queue_says_who_paused_it_when_and_why_until_it_is_resumed() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, r#"{"ok": "paused"}"#).await;
    app.control().pause_queue("mail", "the mail server is down").send().await.unwrap();
    app.control().limit(1).pause_queue("images", "").replies().await.unwrap();
    let paused = app.control().paused_queues().await.unwrap();
    assert_eq!(paused.iter().map(|paused| paused.queue.as_str()).collect::<Vec<_>>(), ["mail", "images"]);
    assert_eq!((&*paused[0].reason, paused[0].since), ("the mail server is down", app.clock().now()));
    assert!(paused[0].by.starts_with("gen"), "{paused:?}");
    worker.wait_for(2).await;
    let request = &worker.requests()[0];
    assert_eq!(request.method, "pause_queue");
    let argument = |name: &str| request.argument(name).unwrap().decode::<String>().unwrap();
    assert_eq!((argument("queue"), argument("by")), ("mail".to_owned(), paused[0].by.clone()));

    app.control().resume_queue("mail").send().await.unwrap();
    worker.wait_for(3).await;
    assert_eq!(worker.requests()[2].method, "resume_queue");
    let paused = app.control().paused_queues().await.unwrap();
    assert_eq!(paused.iter().map(|paused| paused.queue.as_str()).collect::<Vec<_>>(), ["images"]);
}

#[tokio::test]
async fn a_queue_is_paused_for_all_workers_whomever_the_caller_names() {
    let app = kit::app().await.0;
    let worker = FakeWorker::answering(&app, r#"{"ok": "paused"}"#).await;
    app.control().destination(["w9@host"]).pause_queue("mail", "").send().await.unwrap();
    worker.wait_for(1).await;
    assert_eq!(worker.requests()[0].destination, None);
}
