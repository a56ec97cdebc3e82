//! What the tests share: a macro that defines tasks, gates that tasks wait at, and functions that wait for a state.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apium_app::app::app::App;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_transport::broker::queue_admin::QueueStats;
use serde_json::Value;
use tokio::sync::Semaphore;

/// Defines a task as the expansion of `#[task]` does. `fn no_ctx` is a plain function that does not take the context.
#[macro_export]
macro_rules! task {
    ($type:ident = $name:literal, [$($option:ident: $value:expr),*], async |$ctx:ident| $body:expr) => {
        $crate::task!(@ $type, $name, [$($option: $value),*], true, ::apium_app::task::definition::Hooks::NONE,
            ::apium_app::task::definition::TaskFn::Async(|$ctx| ::std::boxed::Box::pin(async move { $body })));
    };
    ($type:ident = $name:literal, [$($option:ident: $value:expr),*], hooks $hooks:expr, async |$ctx:ident| $body:expr) => {
        $crate::task!(@ $type, $name, [$($option: $value),*], true, $hooks,
            ::apium_app::task::definition::TaskFn::Async(|$ctx| ::std::boxed::Box::pin(async move { $body })));
    };
    ($type:ident = $name:literal, [$($option:ident: $value:expr),*], fn |$ctx:ident| $body:expr) => {
        $crate::task!(@ $type, $name, [$($option: $value),*], true, ::apium_app::task::definition::Hooks::NONE,
            ::apium_app::task::definition::TaskFn::Blocking(|$ctx| $body));
    };
    ($type:ident = $name:literal, [$($option:ident: $value:expr),*], fn no_ctx |$ctx:ident| $body:expr) => {
        $crate::task!(@ $type, $name, [$($option: $value),*], false, ::apium_app::task::definition::Hooks::NONE,
            ::apium_app::task::definition::TaskFn::Blocking(|$ctx| $body));
    };
    (@ $type:ident, $name:literal, [$($option:ident: $value:expr),*], $takes_ctx:literal, $hooks:expr, $run:expr) => {
        struct $type;
        impl ::apium_app::task::definition::TaskType for $type {
            type Output = ::apium_protocol::json::text::Json;
            type Args = ();
            fn def() -> &'static ::apium_app::task::definition::TaskDef {
                use ::apium_app::options::task_options::TaskOptions;
                static DEF: ::apium_app::task::definition::TaskDef = ::apium_app::task::definition::TaskDef {
                    name: $name,
                    aliases: &[],
                    parameters: ::apium_app::task::arguments::ParameterList {
                        function: $name,
                        named: &[],
                        var_args: true,
                        var_kwargs: true,
                    },
                    options: || {
                        let set: &[fn(&mut TaskOptions)] = &[$(|options| options.$option = $value),*];
                        let mut options = TaskOptions::NEW;
                        set.iter().for_each(|set| set(&mut options));
                        options
                    },
                    hooks: $hooks,
                    needs: &[],
                    takes_ctx: $takes_ctx,
                    run: $run,
                    location: concat!(file!(), ":", line!()),
                };
                &DEF
            }
        }
    };
}

/// A value, encoded as a task returns it.
pub(crate) fn json(value: impl serde::Serialize) -> Json {
    Json::from_serialize(&value).unwrap()
}

/// A gate inside a task: the test learns that the task has begun, and says when it goes on.
#[derive(Clone)]
pub(crate) struct Gate(Arc<(Semaphore, Semaphore)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }

    /// For tasks: says that the task has begun, and waits until it may go on.
    pub(crate) async fn pass(&self) {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.unwrap().forget();
    }

    /// Waits until `count` more tasks have begun.
    pub(crate) async fn begun(&self, count: u32) {
        let begun = tokio::time::timeout(Duration::from_secs(20), self.0.0.acquire_many(count)).await;
        begun.expect("tasks begin").unwrap().forget();
    }

    /// How many have begun beyond those that [`begun`](Self::begun) has waited for.
    pub(crate) fn more(&self) -> usize {
        self.0.0.available_permits()
    }

    /// Lets `count` tasks go on.
    pub(crate) fn open(&self, count: usize) {
        self.0.1.add_permits(count);
    }
}

/// A list that tasks write to.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until `is_so` says true; fails after 20 seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}

/// The counts of one queue; zeros where there is none.
pub(crate) async fn counts(app: &App, queue: &str) -> QueueStats {
    let stats = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    stats.into_iter().find(|stats| stats.queue == queue).unwrap_or_default()
}

/// Waits until the default queue has so many messages that are ready, and so many that are delivered and not settled.
pub(crate) async fn until_counts(app: &App, ready: u64, unacked: u64) {
    let began = Instant::now();
    loop {
        let seen = counts(app, "celery").await;
        if (seen.ready, seen.unacked) == (ready, unacked) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "wanted {ready} ready and {unacked} unacked: {seen:?}");
        tokio::task::yield_now().await;
    }
}

/// The stored document of a task.
pub(crate) async fn stored(app: &App, id: &str) -> Option<ResultDocument> {
    app.backend().unwrap().stored().unwrap().fetch(&[id.into()]).await.unwrap().remove(0)
}

/// The stored state, or PENDING.
pub(crate) async fn state(app: &App, id: &str) -> String {
    stored(app, id).await.map_or_else(|| "PENDING".into(), |document| document.state.to_string())
}

/// Waits until a task has a state.
pub(crate) async fn until_state(app: &App, id: &str, wanted: &str) {
    let began = Instant::now();
    while state(app, id).await != wanted {
        let seen = stored(app, id).await;
        assert!(began.elapsed() < Duration::from_secs(20), "wanted {wanted} for {id}: {seen:?}");
        tokio::task::yield_now().await;
    }
}

/// `exc_type` and `exc_message` of a stored failure.
pub(crate) async fn exception(app: &App, id: &str) -> (String, Value) {
    let result: Value = stored(app, id).await.unwrap().result.decode().unwrap();
    (result["exc_type"].as_str().unwrap().to_owned(), result["exc_message"].clone())
}

/// Code and reason of each dead letter.
pub(crate) async fn dead(app: &App) -> Vec<(String, String)> {
    let dead_letters = app.broker().dead().unwrap().list(0, 100).await.unwrap();
    dead_letters.into_iter().map(|dead_letter| (dead_letter.code, dead_letter.reason)).collect()
}

/// Sends a task by name under an id.
pub(crate) async fn send(app: &App, task: &str, id: &str) {
    app.sig(task).call().task_id(id).send(app).await.unwrap();
}
