//! The tasks that are observed: one for each way to end.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::task_error::TaskError;
use apium_worker::builder::{AppWorker as _, WorkerBuilder};
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::{AppTest as _, TestBuilder};
use serde_json::json as value;

use crate::rig::{Gate, json};
use crate::task;

task!(Quick = "quick", [], async |_ctx| Ok(json(3)));
task!(Silent = "silent", [send_events: Some(false)], async |_ctx| Ok(json(4)));
task!(Large = "large", [], async |_ctx| Ok(json("x".repeat(5_000))));
task!(Fails = "fails", [], async |_ctx| Err(TaskError::failure("boom")));
task!(Retries = "retries", [], async |ctx| match ctx.retries() {
    0 => Err(ctx.retry().countdown(Duration::ZERO).cause(std::io::Error::other("not yet")).into()),
    _ => Ok(json(ctx.retries())),
});
task!(Rejects = "rejects", [acks_late: Some(true)], async |_ctx| Err(TaskError::reject_because("unwanted", false)));
task!(Ignores = "ignores", [], async |_ctx| Err(TaskError::ignore()));
task!(Tells = "tells", [], async |ctx| {
    ctx.send_event("billing-charged", value!({"cents": 5, "to": "ann"})).await?;
    let wrong = ctx.send_event("charged", value!({})).await;
    let taken = ctx.send_event("billing-charged", value!({"pid": 1})).await;
    Ok(json((wrong.unwrap_err().to_string(), format!("{:#}", taken.unwrap_err()))))
});
task!(Floods = "floods", [], async |ctx| {
    for n in 0..10_500 {
        ctx.send_event("flood-rose", value!({"n": n})).await?;
    }
    Ok(json(1))
});
task!(Waits = "waits", [], async |ctx| {
    ctx.state::<Gate>().unwrap().pass().await;
    Ok(json(1))
});

pub(crate) fn builder() -> TestBuilder {
    let builder = App::test().with(|app| app.autodiscover(false)).state(Gate::new());
    let builder = builder.register::<Quick>().register::<Silent>().register::<Fails>().register::<Retries>();
    let builder = builder.register::<Rejects>().register::<Ignores>().register::<Tells>().register::<Large>();
    builder.register::<Waits>().register::<Floods>()
}

pub(crate) async fn app() -> TestApp {
    builder().build().await.unwrap()
}

/// A worker that sends no heartbeats, so that only tasks are told of.
pub(crate) fn worker(app: &TestApp) -> WorkerBuilder {
    app.worker().concurrency(1).hostname("w1@host").without_heartbeat()
}
