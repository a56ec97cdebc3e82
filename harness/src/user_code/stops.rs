//! A warm stop after everything panicked, and a cold stop while code of the user's hangs.

use std::time::{Duration, Instant};

use apium::canvas;
use apium::prelude::*;
use apium::worker::{StopKind, WorkerHandle};
use serde_json::json;

use crate::faults::kit::row::Outcome;
use crate::user_code::app::SLOTS;
use crate::user_code::places::{node, signature};
use crate::user_code::tasks::Shared;
use crate::user_code::trial::{PATIENCE, ends_of};

/// The bound of a warm stop of a worker that runs nothing.
const WARM: Duration = Duration::from_secs(5);

/// The bound of a cold stop: 10 s for what was cancelled, 10 s for settling, 5 s for closing. A thread that is held is
/// not waited for.
const COLD: Duration = Duration::from_secs(25);

/// Numbers of what hangs. The innocent tasks have smaller ones.
const FIRST: u64 = 1 << 32;

/// What hangs, one for each slot, and how it ends when another worker has run it: with late ack, and with early ack.
const HELD: [(&str, [&str; 2]); SLOTS] = [
    ("held", ["SUCCESS", "REVOKED"]),
    ("plain_held", ["SUCCESS", "REVOKED"]),
    ("hook_held", ["SUCCESS", "SUCCESS"]),
    ("errback_held", ["FAILURE TaskError", "FAILURE TaskError"]),
];

/// Stops a worker that runs nothing.
pub async fn warm(worker: WorkerHandle) -> Outcome {
    let began = Instant::now();
    let report = worker.stop_within(WARM * 2).await;
    let took = began.elapsed();
    let kept = report.how == StopKind::Warm && took < WARM && (report.unsettled, report.cancelled) == (0, 0);
    let text = format!("a warm stop took {:.1} s and left {} runs unsettled", took.as_secs_f64(), report.unsettled);
    Outcome::new(kept, text)
}

/// Stops a worker whose slots hang: in two bodies, a hook and an errback. Then they no longer hang, and another worker
/// runs what went back.
pub async fn cold(app: &App, shared: &Shared, acks_late: bool) -> Result<Outcome, BoxError> {
    let acks = if acks_late { "late" } else { "early" };
    let ids: Vec<String> = HELD.iter().map(|(task, _)| format!("{task}-{acks}")).collect();
    let worker = app.worker().concurrency(SLOTS).start().await?;
    for ((number, id), (task, _)) in (FIRST..).zip(&ids).zip(HELD) {
        let mut node = match task {
            "errback_held" => {
                let mut failing = self::node("fails", &[])?;
                failing.link_error(signature(task, &[json!(number)])?);
                failing
            }
            _ => self::node(task, &[json!(number)])?,
        };
        node.options_mut().task_id = Some(id.as_str().into());
        canvas::send(app, node).await?;
    }
    let all_hang = |runs: &[crate::faults::kit::run_log::LoggedRun]| {
        runs.iter().filter(|run| run.number >= FIRST).count() == SLOTS
    };
    let hung = shared.log.wait(PATIENCE, all_hang).await?;
    let began = Instant::now();
    let report = worker.stop_cold().await;
    let took = began.elapsed();
    shared.released.send_replace(true);
    let next = app.worker().concurrency(SLOTS).start().await?;
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let ends = ends_of(app, &ids, PATIENCE).await?;
    let wanted = |end: &[&'static str; 2]| if acks_late { end[0] } else { end[1] };
    let right = ids.iter().zip(HELD).filter(|(id, (_, end))| ends[*id] == wanted(end)).count();
    let stopped = warm(next).await;
    let kept = hung && took < COLD && report.how == StopKind::Cold && report.unsettled == 0 && right == SLOTS;
    let all = if hung { "" } else { "not all of " };
    let text = format!(
        "a cold stop with {all}{SLOTS} that hang took {:.1} s and left {} runs unsettled, {right} of {SLOTS} ended as documented",
        took.as_secs_f64(),
        report.unsettled
    );
    Ok(Outcome::new(kept && stopped.kept, text))
}
