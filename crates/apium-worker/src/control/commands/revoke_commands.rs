//! Revokes: by id, by stamp, and of what runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::value::printable::printable;
use apium_protocol::value::repr_plain::repr;
use apium_protocol::value::value::Value;
use apium_transport::broker::fleet::{FleetTopic, stamp_key, stamp_keys};

use crate::control::commands::arguments::GivenArguments;
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, ok_reply, quoted, set_repr};
use crate::runs::revoked::stamps_of;
use crate::runs::slot::ActiveRun;
use crate::runs::terminate_signal::TerminateSignal;

/// How many ids a log line shows.
const SHOWN: usize = 10;

pub(crate) fn revoke(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let ids = arguments.texts("task_id")?;
    match arguments.is_true("terminate") {
        true => terminate_ids(controlled, &ids, arguments, request),
        false => {
            revoke_ids(controlled, &ids, request);
            if request.reply_to.is_none() {
                return Ok(Answer::Nothing);
            }
            let ids = set_repr(ids.iter().map(String::as_str));
            Ok(Answer::Reply(ok_reply(&format!("tasks {ids} flagged as revoked"))))
        }
    }
}

pub(crate) fn terminate(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    terminate_ids(controlled, &arguments.texts("task_id")?, arguments, request)
}

/// Whether this worker writes what it revokes for workers that start later: not if the caller has, and not if it meant
/// some workers only.
fn is_to_write(request: &ControlRequest) -> bool {
    let is_for_some = request.destination.as_ref().is_some_and(|nodes| !nodes.is_empty())
        || (request.pattern.is_some() && request.matcher.is_some());
    !request.recorded && !is_for_some
}

/// The ids that a log line shows.
fn first_of(ids: &[String]) -> String {
    ids.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn revoke_ids(controlled: &Controlled, ids: &[String], request: &ControlRequest) {
    tracing::info!(count = ids.len(), "tasks flagged as revoked: {}", printable(first_of(ids)));
    let ids: Vec<TaskId> = ids.iter().map(|id| TaskId::from(id.as_str())).collect();
    controlled.records.revoke(&ids, is_to_write(request));
}

/// Takes the revokes of tasks back. Celery has no such command: its workers forget revokes when they end.
pub(crate) fn unrevoke(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let ids = arguments.texts("task_id")?;
    tracing::info!(count = ids.len(), "tasks are revoked no more: {}", printable(first_of(&ids)));
    controlled.records.unrevoke(FleetTopic::RevokedTasks, &ids, is_to_write(request));
    let ids = set_repr(ids.iter().map(String::as_str));
    Ok(Answer::Reply(ok_reply(&format!("tasks {ids} revoked no more"))))
}

/// As [`unrevoke`], of stamps.
pub(crate) fn unrevoke_by_stamps(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let headers = headers(arguments)?;
    let shown = repr_of(&headers);
    tracing::info!("stamps are revoked no more: {}", printable(&shown));
    controlled.records.unrevoke(FleetTopic::RevokedStamps, &keys_of(&headers), is_to_write(request));
    Ok(Answer::Reply(ok_reply(&format!("headers {shown} revoked no more"))))
}

fn signal(arguments: &GivenArguments<'_>) -> Result<TerminateSignal, PythonError> {
    let signal = arguments.get("signal").map(TerminateSignal::read).transpose().map_err(PythonError::of_repr)?;
    Ok(signal.unwrap_or(TerminateSignal::TERM))
}

fn terminate_ids(
    controlled: &Controlled,
    ids: &[String],
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let signal = signal(arguments)?;
    revoke_ids(controlled, ids, request);
    let asked: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let is_asked = |run: &ActiveRun| run.id().is_some_and(|id| asked.contains(id.as_str()));
    let mut terminated = controlled.process.runs.terminate(is_asked, signal);
    // What waits here is revoked, so it does not begin.
    let runs = controlled.process.run_queue.lock();
    let waiting = runs.reserved().chain(runs.waiting.delayed.iter().map(|(_, run)| run));
    let waiting = waiting.filter_map(|run| run.request.id()).filter(|id| asked.contains(id.as_str()));
    terminated.extend(waiting.cloned().collect::<Vec<_>>());
    drop(runs);
    if terminated.is_empty() {
        return Ok(Answer::Reply(ok_reply("terminate: tasks unknown")));
    }
    let ids = terminated.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", ");
    tracing::info!(%signal, "terminating {}", printable(&ids));
    Ok(Answer::Reply(ok_reply(&format!("terminate: {ids}"))))
}

pub(crate) fn by_stamps(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let signal = signal(arguments)?;
    let headers = headers(arguments)?;
    let shown = repr_of(&headers);
    let keys = keys_of(&headers);
    controlled.records.revoke_stamps(keys.clone(), is_to_write(request));
    tracing::info!("stamps flagged as revoked: {}", printable(&shown));
    if !arguments.is_true("terminate") {
        return Ok(Answer::Reply(ok_reply(&format!("headers {shown} flagged as revoked, but not terminated"))));
    }
    let keys: HashSet<String> = keys.into_iter().collect();
    let is_stamped = |run: &ActiveRun| stamps_of(&run.request.headers).any(|key| keys.contains(&key));
    // What is terminated is told by its stamps, which are gone from the slots afterwards.
    let stamped: Vec<ActiveRun> = controlled.process.runs.active().into_iter().filter(is_stamped).collect();
    let terminated = controlled.process.runs.terminate(is_stamped, signal);
    let terminated: HashSet<&TaskId> = terminated.iter().collect();
    let mut matching: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for run in stamped.iter().filter(|run| run.id().is_some_and(|id| terminated.contains(id))) {
        let of_run: HashSet<String> = stamps_of(&run.request.headers).collect();
        for (header, values) in &headers {
            for value in values_of(values).iter().filter(|value| of_run.contains(&stamp_key(header, value))) {
                let texts = matching.entry(header).or_default();
                let text = repr(value);
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
    }
    if matching.is_empty() {
        return Ok(Answer::Reply(ok_reply(&format!("headers {shown} were not terminated"))));
    }
    let matching = matching.iter().map(|(header, values)| format!("{}: {{{}}}", quoted(header), values.join(", ")));
    let matching = matching.collect::<Vec<_>>().join(", ");
    Ok(Answer::Reply(ok_reply(&format!("headers defaultdict(<class 'set'>, {{{matching}}}) revoked"))))
}

/// The headers with their values: a map, or a list of `header=value`.
fn headers(arguments: &GivenArguments<'_>) -> Result<Vec<(String, Json)>, PythonError> {
    let wrong = || PythonError::type_error("headers must be a dict of header to value, or a list of 'header=value'");
    let headers = match arguments.get("headers").map(Json::to_value) {
        Some(Ok(Value::Map(entries))) => {
            entries.iter().map(|(header, values)| (header.clone(), Json::from_value(values))).collect()
        }
        Some(Ok(Value::List(items))) => {
            let split = |item: &Value| {
                let (header, value) = item.as_str()?.split_once('=')?;
                Some((header.to_owned(), Json::from_serialize(value).ok()?))
            };
            items.iter().map(split).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    Ok(headers)
}

/// A key for each value of each header.
fn keys_of(headers: &[(String, Json)]) -> Vec<String> {
    headers.iter().flat_map(|(header, values)| stamp_keys(header, values)).collect()
}

fn values_of(values: &Json) -> Vec<Json> {
    match values.to_value() {
        Ok(Value::List(items)) => items.iter().map(Json::from_value).collect(),
        _ => vec![values.clone()],
    }
}

fn repr_of(headers: &[(String, Json)]) -> String {
    let entries = headers.iter().map(|(header, values)| format!("{}: {}", quoted(header), repr(values)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}
