//! The result document of a run, as Celery stores it.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{Extended, ResultDocument, ResultTuple};
use apium_protocol::result::state::State;
use apium_protocol::timestamp;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::context::request::Request;
use crate::failure::Failure;

/// What the settings say about stored results.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultPolicy {
    /// How long a result is kept; `None` is for ever (`result_expires`, one day).
    pub ttl: Option<Duration>,
    /// Whether name, arguments, worker, retries and queue are stored too (`result_extended`, false).
    pub extended: bool,
    /// The zone of `date_done` (`timezone`, UTC).
    pub zone: TimeZone,
}

impl Default for ResultPolicy {
    fn default() -> Self {
        Self { ttl: Some(Duration::from_secs(24 * 60 * 60)), extended: false, zone: TimeZone::UTC }
    }
}

/// A state with what belongs to it.
#[derive(Debug, Clone)]
pub struct ResultUpdate {
    /// The state.
    pub state: State,
    /// The return value, the exception's map, or the meta of a custom state.
    pub result: Json,
    /// The traceback's text.
    pub traceback: Option<String>,
}

impl ResultUpdate {
    /// A state with its error. One of FAILURE and RETRY always has a traceback, as in Celery.
    pub fn of_failure(state: State, failure: &Failure) -> Self {
        let traceback = match state {
            State::Failure | State::Retry => Some(failure.traceback_text().into_owned()),
            _ => failure.traceback().map(str::to_owned),
        };
        Self { state, result: failure.exception().to_json(), traceback }
    }
}

/// The document of a run in a given state. `date_done` is set for ready states only, as Celery does.
pub fn result_document(
    request: &Request,
    id: TaskId,
    told: ResultUpdate,
    children: Vec<ResultTuple>,
    rules: &ResultPolicy,
    now: Timestamp,
) -> ResultDocument {
    let headers = &request.headers;
    let is_ready = told.state.is_ready();
    let mut document = ResultDocument::new(id, told.state, told.result);
    document.date_done = is_ready.then(|| timestamp::format_in(now, &rules.zone));
    document.traceback = told.traceback;
    document.children = Some(children);
    document.group_id = headers.group.clone();
    document.parent_id = headers.parent_id.clone();
    document.extended = rules.extended.then(|| Box::new(extended(request)));
    document.extra = match rules.extended {
        true => stamps(request),
        false => Default::default(),
    };
    document
}

fn extended(request: &Request) -> Extended {
    let headers = &request.headers;
    let mut extended = Extended::default();
    extended.name = headers.task.as_deref().map(ToOwned::to_owned);
    extended.args = Some(request.args_json());
    extended.kwargs = Some(request.kwargs_json());
    extended.worker = Some(request.hostname.to_string());
    extended.retries = Some(headers.retries);
    extended.queue = Some(request.delivery_info.routing_key.to_string());
    extended
}

/// Stamps go into the document by their names, after the list of the names.
fn stamps(request: &Request) -> std::collections::BTreeMap<String, Json> {
    let headers = &request.headers;
    let mut extra = headers.stamps.clone();
    if let Some(names) = &headers.stamped_headers
        && let Ok(names) = Json::from_serialize(names)
    {
        extra.insert("stamped_headers".into(), names);
    }
    extra
}

/// The document of a task that is not the one that runs: no children, no parent.
pub fn other_task_document(id: TaskId, told: ResultUpdate, rules: &ResultPolicy, now: Timestamp) -> ResultDocument {
    let is_ready = told.state.is_ready();
    let mut document = ResultDocument::new(id, told.state, told.result);
    document.date_done = is_ready.then(|| timestamp::format_in(now, &rules.zone));
    document.traceback = told.traceback;
    document
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;
    use apium_protocol::result::document::ResultTuple;
    use apium_protocol::result::state::State;
    use jiff::Timestamp;

    use super::{ResultPolicy, ResultUpdate, other_task_document, result_document};
    use crate::context::request::Request;

    fn told(state: &str) -> ResultUpdate {
        ResultUpdate { state: State::from(state), result: Json::NULL, traceback: None }
    }

    fn request() -> Request {
        let mut request = Request::direct();
        request.headers.task = Some("proj.add".into());
        request.headers.group = Some("g".into());
        request.headers.parent_id = Some("p".into());
        request.headers.retries = 2;
        request.body.args = vec![Json::from_serialize(&1).unwrap()];
        request.delivery_info.routing_key = "celery".into();
        request.hostname = "w@h".into();
        request
    }

    #[test]
    fn a_ready_state_has_its_date_and_another_has_none() {
        let at = |state: &str| {
            let told = told(state);
            result_document(&request(), "i".into(), told, Vec::new(), &ResultPolicy::default(), Timestamp::UNIX_EPOCH)
                .date_done
        };
        assert_eq!(at("SUCCESS").as_deref(), Some("1970-01-01T00:00:00+00:00"));
        assert_eq!(at("REVOKED").as_deref(), Some("1970-01-01T00:00:00+00:00"));
        assert_eq!(at("PROGRESS"), None);
        assert_eq!(at("STARTED"), None);
    }

    #[test]
    fn feature_4_3_18_group_parent_and_children_are_kept() {
        let child = ResultTuple::task("c");
        let rules = ResultPolicy::default();
        let document = result_document(
            &request(),
            "i".into(),
            told("SUCCESS"),
            vec![child.clone()],
            &rules,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(document.group_id.as_deref(), Some("g"));
        assert_eq!(document.parent_id, Some("p".into()));
        assert_eq!(document.children, Some(vec![child]));
        assert!(document.extended.is_none());
    }

    #[test]
    fn feature_4_3_11_result_extended_adds_name_arguments_worker_retries_and_queue() {
        let rules = ResultPolicy { extended: true, ..ResultPolicy::default() };
        let document =
            result_document(&request(), "i".into(), told("SUCCESS"), Vec::new(), &rules, Timestamp::UNIX_EPOCH);
        let extended = document.extended.unwrap();
        assert_eq!(extended.name.as_deref(), Some("proj.add"));
        assert_eq!(extended.args.unwrap().as_str(), "[1]");
        assert_eq!(extended.kwargs.unwrap().as_str(), "{}");
        assert_eq!((extended.worker.as_deref(), extended.retries), (Some("w@h"), Some(2)));
        assert_eq!(extended.queue.as_deref(), Some("celery"));
    }

    #[test]
    fn another_tasks_document_says_nothing_about_this_run() {
        let rules = ResultPolicy { extended: true, ..ResultPolicy::default() };
        let document = other_task_document("other".into(), told("PROGRESS"), &rules, Timestamp::UNIX_EPOCH);
        assert_eq!((document.children, document.extended), (None, None));
    }
}
