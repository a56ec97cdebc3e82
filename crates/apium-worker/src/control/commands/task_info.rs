//! A task as inspections show it (Celery: `Request.info`).

use std::sync::Arc;

use apium_app::context::request::Request;
use apium_protocol::json::text::Json;
use apium_protocol::message::headers::TimeLimit;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use apium_protocol::value::repr::{args_repr, kwargs_repr};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::pipeline::task_run::TaskRun;
use crate::runs::slot::ActiveRun;

/// A task as inspections show it.
#[derive(Debug, Serialize)]
pub(crate) struct RunInfo {
    id: Option<TaskId>,
    name: Arc<str>,
    /// The values, or a text where they are to be shown safely.
    args: Json,
    kwargs: Json,
    r#type: Arc<str>,
    hostname: Arc<str>,
    /// Seconds since 1970.
    time_start: Option<f64>,
    acknowledged: bool,
    delivery_info: Delivery,
    worker_pid: Option<u32>,
    /// The hard and the soft limit in seconds, where a run has one. Celery does not show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    timelimit: Option<[Option<f64>; 2]>,
}

#[derive(Debug, Serialize)]
struct Delivery {
    exchange: Arc<str>,
    routing_key: Arc<str>,
    priority: u8,
    redelivered: bool,
}

impl RunInfo {
    /// A run that goes on; `safe` shows its arguments as text.
    pub(crate) fn of_active(run: &ActiveRun, safe: bool) -> Self {
        let mut info = Self::of(&run.request, &run.task.name);
        if safe {
            let headers = &run.request.headers;
            let args = headers.argsrepr.clone().unwrap_or_else(|| args_repr(run.request.args()));
            let kwargs = headers.kwargsrepr.clone().unwrap_or_else(|| kwargs_repr(run.request.kwargs()));
            info.args = Json::from_serialize(&args).unwrap_or(Json::NULL);
            info.kwargs = Json::from_serialize(&kwargs).unwrap_or(Json::NULL);
        }
        info.time_start = Some(seconds(run.since));
        info.acknowledged = !run.task.effective.acks_late;
        info.worker_pid = Some(std::process::id());
        let TimeLimit { hard, soft } = run.limits.in_seconds();
        info.timelimit = (!run.limits.is_none()).then_some([hard, soft]);
        info
    }

    /// A run that waits.
    pub(crate) fn of_waiting(run: &TaskRun) -> Self {
        Self::of(&run.request, &run.task.name)
    }

    /// The task's id.
    pub(crate) fn id(&self) -> Option<&TaskId> {
        self.id.as_ref()
    }

    /// A task of the name `task` that does not run.
    pub(crate) fn of(request: &Request, task: &Arc<str>) -> Self {
        let from = &request.delivery_info;
        Self {
            id: request.id().cloned(),
            name: request.headers.shadow.as_deref().map_or_else(|| task.clone(), Arc::from),
            args: request.args_json(),
            kwargs: request.kwargs_json(),
            r#type: task.clone(),
            hostname: request.hostname.clone(),
            time_start: None,
            acknowledged: false,
            delivery_info: Delivery {
                exchange: from.exchange.clone(),
                routing_key: from.routing_key.clone(),
                priority: from.priority.unwrap_or_default(),
                redelivered: from.redelivered,
            },
            worker_pid: None,
            timelimit: None,
        }
    }
}

/// A task that waits for its eta.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduledRun {
    eta: String,
    priority: u8,
    request: RunInfo,
}

impl ScheduledRun {
    /// The priority that Celery's timer gives to all of them.
    const PRIORITY: u8 = 6;

    pub(crate) fn new(eta: Timestamp, request: RunInfo) -> Self {
        Self { eta: timestamp::format_in(eta, &TimeZone::UTC), priority: Self::PRIORITY, request }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
