//! Inspections of runs: what goes on, what waits, and what is revoked.

use std::collections::BTreeMap;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use apium_protocol::timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::control::commands::arguments::GivenArguments;
use crate::control::commands::task_info::{RunInfo, ScheduledRun};
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::PythonError;

/// A value as a reply.
pub(crate) fn reply<T: Serialize + ?Sized>(value: &T) -> Result<Answer, PythonError> {
    let json = Json::from_serialize(value);
    json.map(Answer::Reply).map_err(|error| PythonError::new("RuntimeError", &format!("could not {error:#}")))
}

pub(crate) fn active(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let safe = arguments.is_true("safe");
    let active = controlled.process.runs.active();
    reply(&active.iter().map(|run| RunInfo::of_active(run, safe)).collect::<Vec<_>>())
}

pub(crate) fn reserved(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    // Cloned under the lock, which every run takes, and written without it.
    let waiting: Vec<_> = controlled.process.run_queue.lock().reserved().cloned().collect();
    reply(&waiting.iter().map(RunInfo::of_waiting).collect::<Vec<_>>())
}

pub(crate) fn scheduled(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let waiting: Vec<_> = {
        let runs = controlled.process.run_queue.lock();
        runs.waiting.delayed.iter().map(|(eta, run)| (eta, run.clone())).collect()
    };
    let mut waiting: Vec<_> = waiting;
    waiting.sort_by_key(|(eta, _)| *eta);
    let shown = waiting.iter().map(|(eta, run)| ScheduledRun {
        eta: timestamp::format_in(*eta, &TimeZone::UTC),
        priority: 6,
        request: RunInfo::of_waiting(run),
    });
    reply(&shown.collect::<Vec<_>>())
}

pub(crate) fn query_task(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let ids = arguments.texts("ids")?;
    let is_asked = |id: &str| ids.iter().any(|asked| asked == id);
    let mut found: BTreeMap<String, (&str, RunInfo)> = BTreeMap::new();
    let (reserved, scheduled): (Vec<_>, Vec<_>) = {
        let runs = controlled.process.run_queue.lock();
        let is_asked =
            |run: &&crate::pipeline::task_run::TaskRun| run.request.id().is_some_and(|id| is_asked(id.as_str()));
        let delayed = runs.waiting.delayed.iter().map(|(_, run)| run);
        (runs.reserved().filter(is_asked).cloned().collect(), delayed.filter(is_asked).cloned().collect())
    };
    for (state, runs) in [("reserved", reserved), ("scheduled", scheduled)] {
        for run in runs {
            let id = run.request.id().map(ToString::to_string).unwrap_or_default();
            found.insert(id, (state, RunInfo::of_waiting(&run)));
        }
    }
    for run in controlled.process.runs.active() {
        if let Some(id) = run.id().filter(|id| is_asked(id.as_str())) {
            found.insert(id.to_string(), ("active", RunInfo::of_active(&run, false)));
        }
    }
    reply(&found)
}

pub(crate) fn revoked(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    reply(&controlled.records.revoked_ids())
}
