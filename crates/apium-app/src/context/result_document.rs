//! The result document of a run, in the form of Celery.

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
    /// How long a result is stored (`result_expires`, one day); `None` is for ever.
    pub ttl: Option<Duration>,
    /// Whether name, arguments, worker, retries and queue of the run are stored too (`result_extended`, false).
    pub extended: bool,
    /// The time zone of `date_done` (`timezone`, UTC).
    pub zone: TimeZone,
}

impl Default for ResultPolicy {
    fn default() -> Self {
        Self { ttl: Some(Duration::from_secs(24 * 60 * 60)), extended: false, zone: TimeZone::UTC }
    }
}

/// A state with its value and its traceback.
#[derive(Debug, Clone)]
pub struct ResultUpdate {
    /// The state.
    pub state: State,
    /// The return value, the exception as JSON, or the meta of a custom state.
    pub result: Json,
    /// The text of the traceback.
    pub traceback: Option<String>,
}

impl ResultUpdate {
    /// A state with a failure. FAILURE and RETRY always have a traceback, as in Celery.
    pub fn of_failure(state: State, failure: &Failure) -> Self {
        let traceback = match state {
            State::Failure | State::Retry => Some(failure.traceback_text().into_owned()),
            _ => failure.traceback().map(str::to_owned),
        };
        Self { state, result: failure.exception().to_json(), traceback }
    }
}

/// The document of a run in a state. Only ready states have `date_done`, as in Celery.
pub fn result_document(
    request: &Request,
    id: TaskId,
    update: ResultUpdate,
    children: Vec<ResultTuple>,
    policy: &ResultPolicy,
    now: Timestamp,
) -> ResultDocument {
    let headers = &request.headers;
    let mut document = other_task_document(id, update, policy, now);
    document.children = Some(children);
    document.group_id = headers.group.clone();
    document.parent_id = headers.parent_id.clone();
    document.extended = policy.extended.then(|| Box::new(extended(request)));
    document.extra = match policy.extended {
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

/// The stamps by their names, and the list of the names.
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

/// The document of another task than the running one, whose request is not known: without children, group and parent.
pub fn other_task_document(id: TaskId, update: ResultUpdate, policy: &ResultPolicy, now: Timestamp) -> ResultDocument {
    let is_ready = update.state.is_ready();
    let mut document = ResultDocument::new(id, update.state, update.result);
    document.date_done = is_ready.then(|| timestamp::format_in(now, &policy.zone));
    document.traceback = update.traceback;
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

    fn update(state: &str) -> ResultUpdate {
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
            let update = update(state);
            result_document(&request(), "i".into(), update, Vec::new(), &ResultPolicy::default(), Timestamp::UNIX_EPOCH)
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
        let policy = ResultPolicy::default();
        let document = result_document(
            &request(),
            "i".into(),
            update("SUCCESS"),
            vec![child.clone()],
            &policy,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(document.group_id.as_deref(), Some("g"));
        assert_eq!(document.parent_id, Some("p".into()));
        assert_eq!(document.children, Some(vec![child]));
        assert!(document.extended.is_none());
    }

    #[test]
    fn feature_4_3_11_result_extended_adds_name_arguments_worker_retries_and_queue() {
        let policy = ResultPolicy { extended: true, ..ResultPolicy::default() };
        let document =
            result_document(&request(), "i".into(), update("SUCCESS"), Vec::new(), &policy, Timestamp::UNIX_EPOCH);
        let extended = document.extended.unwrap();
        assert_eq!(extended.name.as_deref(), Some("proj.add"));
        assert_eq!(extended.args.unwrap().as_str(), "[1]");
        assert_eq!(extended.kwargs.unwrap().as_str(), "{}");
        assert_eq!((extended.worker.as_deref(), extended.retries), (Some("w@h"), Some(2)));
        assert_eq!(extended.queue.as_deref(), Some("celery"));
    }

    #[test]
    fn the_document_of_another_task_has_nothing_of_this_run() {
        let policy = ResultPolicy { extended: true, ..ResultPolicy::default() };
        let document = other_task_document("other".into(), update("PROGRESS"), &policy, Timestamp::UNIX_EPOCH);
        assert_eq!((document.children, document.extended), (None, None));
    }
}
