//! Rows 0.55–0.63: states, custom states, abortable tasks and task classes.

use std::time::Duration;

use apium::ErrorKind;
use apium::message::Value;
use apium::prelude::*;
use apium::result::ResultDocument;
use apium::task::Parameter;
use apium::testing::TestApp;
use futures_util::TryStreamExt as _;

use crate::fixture::{Records, records};
use crate::gate::Gate;
use crate::guide::defining::tracked;

/// Every state that a watcher of `result` sees while all due messages are run, the ready state last. The watch starts
/// before they run.
pub(crate) async fn states_of<T>(result: &AsyncResult<T>, app: &TestApp) -> Vec<ResultDocument> {
    let watch = result.watch().await.unwrap();
    let (seen, _) = tokio::join!(watch.try_collect(), app.drain());
    seen.unwrap()
}

#[derive(Debug)]
struct Broken(&'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

#[task(name = "guide.ok", track_started)]
async fn ok() -> TaskResult<i64> {
    Ok(42)
}

#[task(name = "guide.fails")]
async fn fails() -> TaskResult<i64> {
    Err(Broken("it broke"))?
}

#[task(name = "guide.retries_once")]
async fn retries_once(ctx: &Ctx) -> TaskResult<i64> {
    match ctx.request().retries() {
        0 => Err(ctx.retry().cause(Broken("not yet")).countdown(Duration::ZERO).into()),
        _ => Ok(1),
    }
}

#[task(name = "guide.upload_files")]
async fn upload_files(ctx: &Ctx, names: Vec<String>) -> TaskResult<usize> {
    for (i, name) in names.iter().enumerate() {
        if !ctx.request().called_directly {
            ctx.update_state("PROGRESS", (i, names.len(), name)).await?;
        }
    }
    Ok(names.len())
}

#[task(name = "guide.abortable")]
async fn abortable(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    records.add("running");
    if ctx.aborted().await? {
        records.add("aborted");
        return Err(TaskError::ignore());
    }
    records.add("finished");
    Ok(())
}

#[task(name = "guide.tracked_abortable", track_started, acks_late)]
async fn tracked_abortable(State(records): State<Records>) -> TaskResult<()> {
    records.add("tracked");
    Ok(())
}

#[task(name = "guide.declared_abortable", abortable)]
async fn declared_abortable(State(records): State<Records>) -> TaskResult<()> {
    records.add("declared");
    Ok(())
}

/// A task class with state of its own.
struct AddBonus {
    bonus: i64,
    records: Records,
}

impl Task for AddBonus {
    const NAME: &'static str = "guide.AddBonus";
    const PARAMETERS: &'static [Parameter] = &[Parameter::required("x"), Parameter::required("y")];
    type Args = (i64, i64);
    type Output = i64;

    async fn run(&self, _ctx: &Ctx, (x, y): (i64, i64)) -> TaskResult<i64> {
        Ok(x + y + self.bonus)
    }

    async fn on_success(&self, _ctx: &Ctx, result: &Json) -> TaskResult<()> {
        self.records.add(format!("success {result}"));
        Ok(())
    }
}

on_every_driver! {
    async fn guide_0_55_an_unknown_id_is_pending(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let unknown = app.result::<i64>("nobody ever sent this");
        assert_eq!(unknown.state().await.unwrap(), TaskState::Pending);
        assert!(!unknown.ready().await.unwrap() && !unknown.exists().await.unwrap());
        assert!(unknown.info().await.unwrap().is_null());
        let waiting = ok::delay().send(&app).await.unwrap();
        assert_eq!(waiting.state().await.unwrap(), TaskState::Pending);
    }

    async fn guide_0_56_started_has_process_and_host(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let worker = app.worker().concurrency(1).hostname("w1@here").start().await.unwrap();
        let result = tracked::delay().send(&app).await.unwrap();
        gate.entered(1).await;
        assert_eq!(result.state().await.unwrap(), TaskState::Started);
        let info = result.info().await.unwrap().to_value().unwrap();
        assert_eq!(info.get("pid").and_then(Value::as_i64), Some(i64::from(std::process::id())));
        assert_eq!(info.get("hostname").and_then(Value::as_str), Some("w1@here"));
        gate.open(1);
        worker.stop().await;
    }

    async fn guide_0_57_success_holds_the_value(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = ok::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.state().await.unwrap(), TaskState::Success);
        assert!(result.ready().await.unwrap() && result.successful().await.unwrap() && !result.failed().await.unwrap());
        assert_eq!(result.info().await.unwrap().as_str(), "42");
        assert_eq!(result.get().await.unwrap(), 42);
    }

    async fn guide_0_58_failure_holds_error_and_traceback_and_is_raised(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = fails::delay().send(&app).await.unwrap();
        app.drain().await;
        assert!(result.ready().await.unwrap() && result.failed().await.unwrap());
        let error = result.get().await.unwrap_err();
        let failure = error.failure().unwrap();
        assert_eq!(failure.exception().exc_type, "Broken");
        assert!(failure.to_string().contains("it broke"));
        assert!(result.traceback().await.unwrap().unwrap().contains("it broke"));
        let outcome = result.get().outcome().await.unwrap();
        assert!(outcome.failure().is_some(), "`propagate=False` hands the failure over as a value");
    }

    async fn guide_0_59_retry_holds_the_cause_and_is_not_raised(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = retries_once::delay().send(&app).await.unwrap();
        let states = states_of(&result, &app).await;
        let names: Vec<_> = states.iter().map(|document| document.state.as_str().to_owned()).collect();
        assert_eq!(names, ["RETRY", "SUCCESS"]);
        assert!(states[0].result.as_str().contains("not yet"));
        assert!(states[0].traceback.is_some());
        assert_eq!(result.get().await.unwrap(), 1);
    }

    async fn guide_0_60_revoked_is_raised(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = ok::delay().expires_in(Duration::from_secs(1)).send(&app).await.unwrap();
        app.clock().advance(Duration::from_secs(2));
        app.drain().await;
        assert_eq!(result.state().await.unwrap(), TaskState::Revoked);
        assert!(result.ready().await.unwrap() && !result.failed().await.unwrap() && !result.successful().await.unwrap());
        let error = result.get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TaskRevoked);
        assert_eq!(error.failure().unwrap().exception().exc_type, "TaskRevokedError");
    }

    async fn guide_0_61_states_of_ones_own(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let names = vec!["a".to_owned(), "b".to_owned()];
        let result = upload_files::delay(names.clone()).send(&app).await.unwrap();
        let states = states_of(&result, &app).await;
        let seen: Vec<_> = states.iter().map(|d| (d.state.as_str().to_owned(), d.result.to_string())).collect();
        let progress = |text: &str| ("PROGRESS".to_owned(), text.to_owned());
        assert_eq!(seen, [progress(r#"[0, 2, "a"]"#), progress(r#"[1, 2, "b"]"#), ("SUCCESS".into(), "2".into())]);
        assert_eq!(upload_files(&Ctx::direct(), names).await.unwrap(), 2, "called directly it stores nothing");
    }

    async fn guide_0_62_a_task_can_be_aborted(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = abortable::delay().send(&app).await.unwrap();
        result.abort().await.unwrap();
        assert_eq!(result.state().await.unwrap(), TaskState::from("ABORTED"));
        app.drain().await;
        assert_eq!(records(&app), ["running", "aborted"]);
        assert!(result.is_aborted().await.unwrap());
        abortable::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["running", "finished"]);
    }

    async fn guide_0_62_an_abort_before_the_start_keeps_a_task_from_running(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let aborted = [tracked_abortable::delay().send(&app).await.unwrap(), declared_abortable::delay().send(&app).await.unwrap()];
        for result in &aborted {
            result.abort().await.unwrap();
        }
        app.drain().await;
        assert_eq!(records(&app), [""; 0]);
        for result in &aborted {
            assert!(result.is_aborted().await.unwrap());
        }
        tracked_abortable::delay().send(&app).await.unwrap();
        declared_abortable::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["tracked", "declared"]);
    }

    async fn guide_0_63_a_task_class(fixture: &Fixture) {
        let recorded = Records::default();
        let task = AddBonus { bonus: 100, records: recorded.clone() };
        let app = fixture.builder().register_task(task).build().await.unwrap();
        let result = AddBonus::s((1, 2)).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 103);
        assert_eq!(recorded.take(), ["success 103"]);
        assert_eq!(&*app.registry().get("guide.AddBonus").unwrap().name, AddBonus::NAME);
    }
}
