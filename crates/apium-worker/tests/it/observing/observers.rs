//! Observers of the program, on apps and workers.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::failure::Failure;
use apium_app::observe::app_observer::AppObserver;
use apium_protocol::json::text::Json;
use apium_transport::broker::outgoing::Outgoing;
use apium_worker::observe::worker_observer::{
    AppWorkerObservers as _, HowRevoked, ObservedTask, ObservedWorker, RefusedMessage, WorkerObserver,
};
use apium_worker::shutdown::kind::StopKind;

use crate::observing::tasks::{app, builder, worker};
use crate::rig::{Notes, send, state, until};

/// Notes everything.
struct Scribe(Notes);

impl Scribe {
    fn of(&self, what: &str, task: &ObservedTask) {
        self.0.add(format!("{what} {}", task.id().unwrap()));
    }
}

impl WorkerObserver for Scribe {
    fn worker_init(&self, worker: &ObservedWorker) {
        self.0.add(format!("init {}", worker.node()));
    }

    fn worker_ready(&self, _: &ObservedWorker) {
        self.0.add("ready");
    }

    fn worker_shutting_down(&self, _: &ObservedWorker, how: StopKind) {
        self.0.add(format!("shutting down {how:?}"));
    }

    fn worker_shutdown(&self, _: &ObservedWorker) {
        self.0.add("shutdown");
    }

    fn task_received(&self, task: &ObservedTask) {
        assert_eq!(task.request().task(), Some(task.name()));
        self.of("received", task);
    }

    fn task_prerun(&self, task: &ObservedTask) {
        self.of("prerun", task);
    }

    fn task_postrun(&self, task: &ObservedTask, state: &str, _: Duration) {
        self.of(&format!("postrun {state}"), task);
    }

    fn task_success(&self, task: &ObservedTask, value: &Json, _: Duration) {
        self.of(&format!("success {}", value.as_str()), task);
    }

    fn task_failure(&self, task: &ObservedTask, failure: &Failure) {
        self.of(&format!("failure {failure}"), task);
    }

    fn task_retry(&self, task: &ObservedTask, cause: Option<&Failure>) {
        self.of(&format!("retry {}", cause.is_some()), task);
    }

    fn task_revoked(&self, task: &ObservedTask, how: HowRevoked) {
        self.of(&format!("revoked {}", how.expired), task);
    }

    fn task_rejected(&self, message: &RefusedMessage) {
        self.0.add(format!("rejected {}", message.code()));
    }

    fn task_unknown(&self, message: &RefusedMessage) {
        self.0.add(format!("unknown {} {}", message.task().unwrap(), message.id().unwrap()));
    }
}

#[tokio::test]
async fn an_observer_is_told_of_everything_in_order() {
    let (of_app, of_worker) = (Notes::default(), Notes::default());
    let scribe = Scribe(of_app.clone());
    let app = builder().with(|app| app.worker_observer(scribe)).build().await.unwrap();
    app.sig("quick").call().task_id("old").expires_in(Duration::from_secs(1)).send(&app).await.unwrap();
    app.clock().advance(Duration::from_secs(9));
    for task in ["quick", "fails", "retries", "rejects", "ignores", "gone"] {
        send(&app, task, task).await;
    }
    let worker = worker(&app).observer(Scribe(of_worker.clone())).start().await.unwrap();
    until("all ends", async || of_worker.all().iter().any(|note| note == "success 1 retries")).await;
    worker.stop().await;
    let notes = of_worker.all();
    assert_eq!(notes, of_app.all(), "those of the app and of the worker are told the same");
    assert_eq!(notes[..2], ["init w1@host", "ready"]);
    assert_eq!(notes[notes.len() - 2..], ["shutting down Warm", "shutdown"]);
    let of = |id: &str| -> Vec<String> {
        let of_id = notes.iter().filter_map(|note| note.strip_suffix(&format!(" {id}")));
        of_id.map(str::to_owned).collect()
    };
    assert_eq!(of("old"), ["revoked true"]);
    assert_eq!(of("quick"), ["received", "prerun", "success 3", "postrun SUCCESS"]);
    assert_eq!(of("fails"), ["received", "prerun", "failure TaskError('boom')", "postrun FAILURE"]);
    assert_eq!(of("rejects"), ["received", "prerun", "postrun REJECTED"]);
    assert_eq!(of("ignores"), ["received", "prerun", "postrun IGNORED"]);
    let first = ["received", "prerun", "retry true", "postrun RETRY"];
    assert_eq!(of("retries"), [&first[..], &["received", "prerun", "success 1", "postrun SUCCESS"]].concat());
    assert!(notes.contains(&"unknown gone gone".to_owned()), "{notes:?}");
}

/// Panics at each task.
struct Panics;

impl WorkerObserver for Panics {
    fn task_prerun(&self, _: &ObservedTask) {
        panic!("the observer");
    }
}

/// Does not return before it is let go.
struct Hangs(Arc<(Mutex<bool>, Condvar)>);

impl WorkerObserver for Hangs {
    fn task_prerun(&self, _: &ObservedTask) {
        let (may_go, wake) = &*self.0;
        drop(wake.wait_while(may_go.lock().unwrap(), |may_go| !*may_go).unwrap());
    }
}

#[tokio::test]
async fn observers_that_panic_or_hang_hurt_nobody() {
    let app = app().await;
    let (notes, gate) = (Notes::default(), Arc::new((Mutex::new(false), Condvar::new())));
    let observed = worker(&app).observer(Panics).observer(Scribe(notes.clone())).start().await.unwrap();
    send(&app, "quick", "q1").await;
    until("it is told all the same", async || notes.all().contains(&"postrun SUCCESS q1".to_owned())).await;
    assert!(notes.all().contains(&"prerun q1".to_owned()), "the other observers are told what one panics at");
    observed.stop().await;

    let hanging = worker(&app).observer(Hangs(gate.clone())).start().await.unwrap();
    for n in 0..20 {
        send(&app, "quick", &format!("h{n}")).await;
    }
    until("tasks go on", async || state(&app, "h19").await == "SUCCESS").await;
    assert_eq!(hanging.stop().await.finished, 20);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

/// Notes what is published.
struct Published(Notes);

impl AppObserver for Published {
    fn before_publish(&self, message: &Outgoing) {
        self.0.add(format!("before {}", message.message.headers.id.as_ref().unwrap()));
    }

    fn after_publish(&self, message: &Outgoing) {
        self.0.add(format!("after {} to {}", message.message.headers.id.as_ref().unwrap(), message.routing_key));
        panic!("the observer");
    }
}

#[tokio::test]
async fn an_observer_of_an_app_is_told_what_is_published() {
    let notes = Notes::default();
    let published = Published(notes.clone());
    let app = builder().with(|app: apium_app::builder::AppBuilder| app.observer(published)).build().await.unwrap();
    send(&app, "quick", "a").await;
    send(&app, "quick", "b").await;
    App::close(&app).await.unwrap();
    assert_eq!(notes.all(), ["before a", "after a to celery", "before b", "after b to celery"]);
}
