//! Limits of tasks while the worker runs.

use std::sync::Arc;

use apium_app::options::rate_limit::RateLimit;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use apium_protocol::value::printable::printable;

use crate::control::commands::arguments::GivenArguments;
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, error_reply, ok_reply, quoted};
use crate::limits::time_limit::Limits;

pub(crate) fn rate_limit(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let name = arguments.needed_text("task_name")?;
    let text = match arguments.get("rate_limit") {
        None => String::new(),
        Some(json) => json.decode::<String>().unwrap_or_else(|_| json.to_utf8()),
    };
    let limit = match RateLimit::parse(&text) {
        Ok(limit) => limit,
        Err(_) => return Ok(Answer::Reply(error_reply(&invalid(&text)))),
    };
    let Some(task) = controlled.process.intake.registry.get(&name) else { return Ok(unknown_task()) };
    let process = &controlled.process;
    if !process.run_queue.keeps_rate_limits() {
        let text = "rate limits are switched off in this worker (worker_disable_rate_limits)";
        return Ok(Answer::Reply(error_reply(text)));
    }
    process.run_queue.set_rate_limit(&task.name, limit);
    process.task_limits.note_rate(&task.name, limit.map(|_| text.clone()));
    Ok(Answer::Reply(ok_reply(match limit {
        Some(_) => {
            tracing::info!(task = &*task.name, "new rate limit of {}: {}", task.name, printable(&text));
            "new rate limit set successfully"
        }
        None => {
            tracing::info!(task = &*task.name, "the rate limit of {} is switched off", task.name);
            // To Python "0" is true. Celery sets it as a limit, which is none.
            match arguments.is_true("rate_limit") {
                true => "new rate limit set successfully",
                false => "rate limit disabled successfully",
            }
        }
    })))
}

/// The text of Celery for a rate limit that cannot be read.
fn invalid(text: &str) -> String {
    let count = text.split_once('/').map_or(text, |(count, _)| count);
    let is_number = count.trim().parse::<f64>().is_ok_and(|count| count.is_finite() && count >= 0.0);
    let message = match is_number {
        true => format!("the unit of {} is none of s, m, h", quoted(text)),
        false => format!("could not convert string to float: {}", quoted(count)),
    };
    format!("Invalid rate limit string: ValueError({})", quoted(&message))
}

pub(crate) fn time_limit(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let name = arguments.text("task_name")?.unwrap_or_default();
    let limits = Limits { soft: arguments.seconds("soft")?, hard: arguments.seconds("hard")? };
    let Some(task) = controlled.process.intake.registry.get(&name) else { return Ok(unknown_task()) };
    if let Some(why) = is_impossible(task, limits) {
        return Ok(Answer::Reply(error_reply(&why)));
    }
    controlled.process.task_limits.set_time(&task.name, limits);
    let shown = |limit: Option<std::time::Duration>| limit.map_or(Json::NULL.to_string(), |limit| format!("{limit:?}"));
    let (soft, hard) = (shown(limits.soft), shown(limits.hard));
    tracing::info!(task = &*task.name, soft, hard, "new time limits of {}", task.name);
    Ok(Answer::Reply(ok_reply("time limits set successfully")))
}

/// Why limits would not work; `None` where they do.
fn is_impossible(task: &RegisteredTask, limits: Limits) -> Option<String> {
    if let (Some(soft), Some(hard)) = (limits.soft, limits.hard)
        && soft > hard
    {
        return Some(format!("the soft limit of {soft:?} is above the hard one of {hard:?}"));
    }
    let is_unseen = limits.soft.is_some() && task.is_blocking() && !task.takes_ctx;
    is_unseen.then(|| {
        format!(
            "{} cannot see a soft limit: it is a plain fn and does not take its context; set the hard limit alone",
            task.name
        )
    })
}

fn unknown_task() -> Answer {
    Answer::Reply(error_reply("unknown task"))
}
