//! Scenarios 6 and 7: what a stop does to the tasks that run and to those that were only fetched.

use apium::ErrorKind;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::gate::Gate;
use crate::ground::{Notes, notes};
use crate::live::{came, counts, let_through, live, start, stop, until_counts, value};

/// Notes its number and stands at the gate.
#[task(name = "scenarios.gated")]
pub(crate) async fn gated(ctx: &Ctx, State(gate): State<Gate>, State(notes): State<Notes>, n: i64) -> TaskResult<i64> {
    let again = if ctx.request().delivery_info.redelivered { " again" } else { "" };
    notes.add(format!("{n}{again}"));
    gate.pass().await;
    Ok(n)
}

/// The numbers that runs have noted, in order.
fn numbers(noted: &[String]) -> Vec<i64> {
    let mut all: Vec<i64> = noted.iter().map(|note| note.trim_end_matches(" again").parse().unwrap()).collect();
    all.sort_unstable();
    all
}

on_every_driver! {
    async fn scenario_06_warm_shutdown_drains_running_and_requeues_prefetched(ground: &Ground) {
        // With early ack the three that run are acked and twelve more are fetched, with late ack nine.
        for (late, fetched) in [(false, 12), (true, 9)] {
            let app = live(ground).setting("task_acks_late", late).register::<gated>().build().await.unwrap();
            let results = gated::batch((0..31).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 3).await;
            came(&app, 3).await;
            until_counts(&app, 28 - fetched, 12).await;

            worker.ask(StopKind::Warm);
            // What was fetched is back while the others still run, and only they are left out.
            until_counts(&app, 28, if late { 3 } else { 0 }).await;
            let_through(&app, 3);
            let report = stop(worker, StopKind::Warm).await;
            assert_eq!((report.how, report.exit_code()), (StopKind::Warm, 0));
            assert_eq!((report.finished, report.finished_while_stopping), (3, 3));
            assert_eq!((report.given_back, report.cancelled, report.unsettled), (fetched, 0, 0));
            let left = counts(&app).await;
            assert_eq!((left.ready, left.unacked, left.consumers), (28, 0, 0));

            let mut noted = notes(&app);
            let ran = numbers(&noted);
            for (n, result) in (0..).zip(&results) {
                let state = if ran.contains(&n) { TaskState::Success } else { TaskState::Pending };
                assert_eq!(result.state().await.unwrap(), state, "task {n}");
            }

            // No task is lost, and none runs twice.
            let_through(&app, 28);
            let next = start(&app, 3).await;
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            assert_eq!(stop(next, StopKind::Warm).await.finished, 28);
            noted.extend(notes(&app));
            assert_eq!(numbers(&noted), (0..31).collect::<Vec<_>>());
            assert_eq!(counts(&app).await.ready, 0);
        }
    }

    async fn scenario_06_a_worker_runs_until_its_future_ends_and_then_stops_warm(ground: &Ground) {
        let app = live(ground).register::<gated>().build().await.unwrap();
        let result = gated::delay(1).send(&app).await.unwrap();
        let asked = app.clone();
        let shutdown = async move {
            came(&asked, 1).await;
            let_through(&asked, 1);
        };
        let report = app.worker().concurrency(3).run_until(shutdown).await.unwrap();
        assert_eq!((report.how, report.finished, report.exit_code()), (StopKind::Warm, 1, 0));
        assert_eq!(value(&result).await, 1);
    }

    async fn scenario_07_cold_shutdown_gives_late_ack_tasks_back(ground: &Ground) {
        for (tracked, state) in [(false, TaskState::Pending), (true, TaskState::Started)] {
            let builder = live(ground).setting("task_acks_late", true).setting("task_track_started", tracked);
            let app = builder.register::<gated>().build().await.unwrap();
            let results = gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 2).await;
            came(&app, 2).await;
            let report = stop(worker, StopKind::Cold).await;
            assert_eq!((report.how, report.exit_code()), (StopKind::Cold, 0));
            assert_eq!((report.finished, report.cancelled, report.unsettled), (0, 2, 0));
            let left = counts(&app).await;
            assert_eq!((left.ready, left.unacked), (2, 0));
            for result in &results {
                assert_eq!(result.state().await.unwrap(), state);
            }
            assert_eq!(numbers(&notes(&app)), [0, 1]);

            // A later worker has them, as redelivered.
            let_through(&app, 2);
            let next = start(&app, 2).await;
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            stop(next, StopKind::Warm).await;
            let mut noted = notes(&app);
            noted.sort_unstable();
            assert_eq!(noted, ["0 again", "1 again"]);
        }
    }

    /// Celery stores a RETRY that never comes, and whoever waits does so for ever.
    async fn scenario_07_cold_shutdown_ends_early_ack_tasks_as_revoked(ground: &Ground) {
        let app = live(ground).register::<gated>().build().await.unwrap();
        let results = gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
        let worker = start(&app, 2).await;
        came(&app, 2).await;
        let report = stop(worker, StopKind::Cold).await;
        assert_eq!((report.how, report.cancelled, report.unsettled), (StopKind::Cold, 2, 0));
        let left = counts(&app).await;
        assert_eq!((left.ready, left.unacked, left.delayed), (0, 0, 0));
        for result in &results {
            assert_eq!(result.state().await.unwrap(), TaskState::Revoked);
            let error = result.get().timeout(crate::live::PATIENCE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TaskRevoked);
            let exception = error.failure().unwrap().exception();
            assert_eq!((exception.exc_type.as_str(), exception.message()), ("TaskRevokedError", "terminated".to_owned()));
        }
    }

    /// A second, harder request overtakes a warm stop that waits for its tasks. What was fetched goes back either way.
    async fn scenario_07_cold_overtakes_warm(ground: &Ground) {
        let app = live(ground).setting("task_acks_late", true).register::<gated>().build().await.unwrap();
        gated::batch((0..9).map(|n| (n,))).send_all(&app).await.unwrap();
        let worker = start(&app, 2).await;
        came(&app, 2).await;
        worker.ask(StopKind::Warm);
        until_counts(&app, 7, 2).await;
        let report = stop(worker, StopKind::Cold).await;
        assert_eq!((report.how, report.finished, report.cancelled), (StopKind::Cold, 0, 2));
        let left = counts(&app).await;
        assert_eq!((left.ready, left.unacked), (9, 0));
    }
}
