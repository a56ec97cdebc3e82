//! What a shutdown does to running tasks, and to messages that were only prefetched.

use std::time::Duration;

use apium::ErrorKind;
use apium::prelude::*;
use apium::worker::StopKind;

use crate::fixture::{Records, records};
use crate::gate::Gate;
use crate::live::{counts, entered, live, open_gate, start, stop, value, wait_for_counts};

/// Records its number and waits at the gate.
#[task(name = "scenarios.gated")]
pub(crate) async fn gated(
    ctx: &Ctx,
    State(gate): State<Gate>,
    State(records): State<Records>,
    n: i64,
) -> TaskResult<i64> {
    let suffix = if ctx.request().delivery_info.redelivered { " again" } else { "" };
    records.add(format!("{n}{suffix}"));
    gate.pass().await;
    Ok(n)
}

/// The numbers that runs have recorded, in order.
fn numbers(recorded: &[String]) -> Vec<i64> {
    let mut all: Vec<i64> = recorded.iter().map(|text| text.trim_end_matches(" again").parse().unwrap()).collect();
    all.sort_unstable();
    all
}

on_every_driver! {
    async fn warm_shutdown_drains_running_and_requeues_prefetched(fixture: &Fixture) {
        // With early ack the three that run are acked and twelve more are fetched, with late ack nine.
        for (acks_late, fetched) in [(false, 12), (true, 9)] {
            let builder = live(fixture).setting("worker_prefetch_multiplier", 4).setting("task_acks_late", acks_late);
            let app = builder.register::<gated>().build().await.unwrap();
            let results = gated::batch((0..31).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 3).await;
            entered(&app, 3).await;
            wait_for_counts(&app, 28 - fetched, 12).await;

            worker.request_stop(StopKind::Warm);
            // Prefetched messages are back in the queue while the running tasks go on.
            wait_for_counts(&app, 28, if acks_late { 3 } else { 0 }).await;
            open_gate(&app, 3);
            let report = stop(worker, StopKind::Warm).await;
            assert_eq!((report.how, report.exit_code()), (StopKind::Warm, 0));
            assert_eq!((report.finished, report.finished_while_stopping), (3, 3));
            assert_eq!((report.given_back, report.cancelled, report.unsettled), (fetched, 0, 0));
            let stats = counts(&app).await;
            assert_eq!((stats.ready, stats.unacked, stats.consumers), (28, 0, 0));

            let mut recorded = records(&app);
            let ran = numbers(&recorded);
            for (n, result) in (0..).zip(&results) {
                let state = if ran.contains(&n) { TaskState::Success } else { TaskState::Pending };
                assert_eq!(result.state().await.unwrap(), state, "task {n}");
            }

            // No task is lost, and none runs twice.
            open_gate(&app, 28);
            let next = start(&app, 3).await;
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            assert_eq!(stop(next, StopKind::Warm).await.finished, 28);
            recorded.extend(records(&app));
            assert_eq!(numbers(&recorded), (0..31).collect::<Vec<_>>());
            assert_eq!(counts(&app).await.ready, 0);
        }
    }

    async fn a_worker_runs_until_its_future_ends_and_then_stops_warm(fixture: &Fixture) {
        let app = live(fixture).register::<gated>().build().await.unwrap();
        let result = gated::delay(1).send(&app).await.unwrap();
        let waiting = app.clone();
        let shutdown = async move {
            entered(&waiting, 1).await;
            open_gate(&waiting, 1);
        };
        let report = app.worker().concurrency(3).run_until(shutdown).await.unwrap();
        assert_eq!((report.how, report.finished, report.exit_code()), (StopKind::Warm, 1, 0));
        assert_eq!(value(&result).await, 1);
    }

    async fn cold_shutdown_requeues_late_ack_tasks(fixture: &Fixture) {
        for (tracked, state) in [(false, TaskState::Pending), (true, TaskState::Started)] {
            let builder = live(fixture).setting("task_acks_late", true).setting("task_track_started", tracked);
            let app = builder.register::<gated>().build().await.unwrap();
            let results = gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
            let worker = start(&app, 2).await;
            entered(&app, 2).await;
            let report = stop(worker, StopKind::Cold).await;
            assert_eq!((report.how, report.exit_code()), (StopKind::Cold, 0));
            assert_eq!((report.finished, report.cancelled, report.unsettled), (0, 2, 0));
            let stats = counts(&app).await;
            assert_eq!((stats.ready, stats.unacked), (2, 0));
            for result in &results {
                assert_eq!(result.state().await.unwrap(), state);
            }
            assert_eq!(numbers(&records(&app)), [0, 1]);

            // A later worker gets them as redelivered.
            open_gate(&app, 2);
            let next = start(&app, 2).await;
            for (n, result) in (0..).zip(&results) {
                assert_eq!(value(result).await, n);
            }
            stop(next, StopKind::Warm).await;
            let mut recorded = records(&app);
            recorded.sort_unstable();
            assert_eq!(recorded, ["0 again", "1 again"]);
        }
    }

    async fn a_handle_stops_its_worker_warm_cold_or_cold_after_a_while(fixture: &Fixture) {
        let app = live(fixture).setting("task_acks_late", true).register::<gated>().build().await.unwrap();
        let one = gated::delay(1).send(&app).await.unwrap();
        let worker = start(&app, 1).await;
        entered(&app, 1).await;
        let (report, ()) = tokio::join!(worker.stop(), async { open_gate(&app, 1) });
        assert_eq!((report.how, report.finished, report.cancelled), (StopKind::Warm, 1, 0));
        assert_eq!(value(&one).await, 1);

        gated::delay(2).send(&app).await.unwrap();
        for stopping in ["cold", "within", "long enough"] {
            let worker = start(&app, 1).await;
            entered(&app, 1).await;
            let report = match stopping {
                "cold" => worker.stop_cold().await,
                "within" => worker.stop_within(Duration::from_millis(20)).await,
                _ => {
                    open_gate(&app, 1);
                    worker.stop_within(crate::live::PATIENCE).await
                }
            };
            let wanted = match stopping {
                "long enough" => (StopKind::Warm, 1, 0),
                _ => (StopKind::Cold, 0, 1),
            };
            assert_eq!((report.how, report.finished, report.cancelled), wanted, "{stopping}");
        }
        assert_eq!(counts(&app).await.ready, 0);
    }

    /// Celery stores a RETRY that never comes, and whoever waits does so for ever.
    async fn cold_shutdown_ends_early_ack_tasks_as_revoked(fixture: &Fixture) {
        let app = live(fixture).register::<gated>().build().await.unwrap();
        let results = gated::batch((0..2).map(|n| (n,))).send_all(&app).await.unwrap();
        let worker = start(&app, 2).await;
        entered(&app, 2).await;
        let report = stop(worker, StopKind::Cold).await;
        assert_eq!((report.how, report.cancelled, report.unsettled), (StopKind::Cold, 2, 0));
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked, stats.delayed), (0, 0, 0));
        for result in &results {
            assert_eq!(result.state().await.unwrap(), TaskState::Revoked);
            let error = result.get().timeout(crate::live::PATIENCE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TaskRevoked);
            let exception = error.failure().unwrap().exception();
            assert_eq!((exception.exc_type.as_str(), exception.message()), ("TaskRevokedError", "terminated".to_owned()));
        }
    }

    /// A cold stop interrupts a warm stop that waits for its tasks. Both requeue prefetched messages.
    async fn a_cold_stop_interrupts_a_warm_one(fixture: &Fixture) {
        let builder = live(fixture).setting("worker_prefetch_multiplier", 4).setting("task_acks_late", true);
        let app = builder.register::<gated>().build().await.unwrap();
        gated::batch((0..9).map(|n| (n,))).send_all(&app).await.unwrap();
        let worker = start(&app, 2).await;
        entered(&app, 2).await;
        worker.request_stop(StopKind::Warm);
        wait_for_counts(&app, 7, 2).await;
        let report = stop(worker, StopKind::Cold).await;
        assert_eq!((report.how, report.finished, report.cancelled), (StopKind::Cold, 0, 2));
        let stats = counts(&app).await;
        assert_eq!((stats.ready, stats.unacked), (9, 0));
    }
}
