//! Inspections of runs: what goes on, what waits, and what is revoked.

use std::collections::BTreeMap;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use apium_protocol::message::task_id::TaskId;
use serde::Serialize;

use crate::control::commands::arguments::GivenArguments;
use crate::control::commands::delayed_tasks::delayed_tasks;
use crate::control::commands::task_info::{RunInfo, ScheduledRun};
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, error_reply};
use crate::pipeline::task_run::TaskRun;

/// A value as a reply.
pub(crate) fn reply<T: Serialize + ?Sized>(value: &T) -> Result<Answer, PythonError> {
    let json = Json::from_serialize(value);
    json.map(Answer::Reply).map_err(|error| PythonError::new("RuntimeError", &format!("could not {error:#}")))
}

/// A value as the reply of a command that answers later.
fn to_reply<T: Serialize + ?Sized>(value: &T) -> Json {
    Json::from_serialize(value).unwrap_or_else(|error| error_reply(&format!("could not {error:#}")))
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

/// What waits for its eta: in this worker, and at the broker, where it waits for all workers of its queue.
pub(crate) fn scheduled(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let here: Vec<_> = {
        let runs = controlled.process.run_queue.lock();
        runs.waiting.delayed.iter().map(|(eta, run)| (eta, run.clone())).collect()
    };
    let mut here: Vec<_> = here.iter().map(|(eta, run)| (*eta, RunInfo::of_waiting(run))).collect();
    let controlled = controlled.clone();
    Ok(Answer::Later(Box::pin(async move {
        match delayed_tasks(&controlled).await {
            Ok(delayed) => {
                here.extend(delayed);
                here.sort_by_key(|(eta, _)| *eta);
                to_reply(&here.into_iter().map(|(eta, task)| ScheduledRun::new(eta, task)).collect::<Vec<_>>())
            }
            Err(error) => error_reply(&format!("could not {error:#}")),
        }
    })))
}

pub(crate) fn query_task(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let ids = arguments.texts("ids")?;
    let mut found: BTreeMap<String, (&str, RunInfo)> = BTreeMap::new();
    let is_asked = |id: Option<&TaskId>| id.is_some_and(|id| ids.iter().any(|asked| asked == id.as_str()));
    let (reserved, scheduled): (Vec<_>, Vec<_>) = {
        let runs = controlled.process.run_queue.lock();
        let is_asked = |run: &&TaskRun| is_asked(run.request.id());
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
        if let Some(id) = run.id().filter(|id| is_asked(Some(id))) {
            found.insert(id.to_string(), ("active", RunInfo::of_active(&run, false)));
        }
    }
    if found.len() == ids.len() {
        return reply(&found);
    }
    let controlled = controlled.clone();
    Ok(Answer::Later(Box::pin(async move {
        let delayed = match delayed_tasks(&controlled).await {
            Ok(delayed) => delayed,
            Err(error) => return error_reply(&format!("could not {error:#}")),
        };
        for (_, task) in delayed {
            let id = task.id().map(ToString::to_string).unwrap_or_default();
            if ids.contains(&id) {
                found.entry(id).or_insert(("scheduled", task));
            }
        }
        to_reply(&found)
    })))
}

pub(crate) fn revoked(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    reply(&controlled.records.revoked_ids())
}

pub(crate) fn revoked_stamps(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    reply(&controlled.records.revoked_stamps())
}
