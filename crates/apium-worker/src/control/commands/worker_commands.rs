//! The worker itself: its facts, its settings, its tasks, its events and its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use apium_app::config::table::SETTINGS;
use apium_app::options::rate_limit::RateLimit;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use serde::Serialize;
use serde_json::json;

use crate::control::commands::arguments::GivenArguments;
use crate::control::commands::process_facts::memory;
use crate::control::commands::run_commands::reply;
use crate::control::commands::stats::Stats;
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, ok_reply};
use crate::control::shared_records::greeted_ids;
use crate::shutdown::kind::StopKind;

type Answered = Result<Answer, PythonError>;

pub(crate) fn ping(_: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    Ok(Answer::Reply(ok_reply("pong")))
}

pub(crate) fn clock(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    reply(&json!({"clock": controlled.clock.value()}))
}

pub(crate) fn stats(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    reply(&Stats::of(controlled))
}

/// Another worker greets: its revoked ids are merged, and it gets those of this one.
pub(crate) fn hello(controlled: &Arc<Controlled>, arguments: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    if arguments.needed_text("from_node")? == *controlled.node {
        return Ok(Answer::Reply(Json::NULL));
    }
    if let Some(revoked) = arguments.get("revoked") {
        controlled.records.merge_revoked(greeted_ids(revoked));
    }
    #[derive(Serialize)]
    struct Greeting {
        revoked: Vec<Arc<str>>,
        clock: u64,
    }
    reply(&Greeting { revoked: controlled.records.revoked_ids(), clock: controlled.clock.forward() })
}

pub(crate) fn shutdown(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    tracing::warn!("a remote command asks for a warm stop");
    controlled.stop.request(StopKind::Warm);
    Ok(Answer::Nothing)
}

pub(crate) fn enable_events(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    let text = if controlled.events.enable() { "task events enabled" } else { "task events already enabled" };
    Ok(Answer::Reply(ok_reply(text)))
}

pub(crate) fn disable_events(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    let text = if controlled.events.disable() { "task events disabled" } else { "task events already disabled" };
    Ok(Answer::Reply(ok_reply(text)))
}

pub(crate) fn heartbeat(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    controlled.events.heartbeat();
    Ok(Answer::Reply(Json::NULL))
}

/// This worker is never a candidate.
pub(crate) fn election(_: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    Ok(Answer::Reply(Json::NULL))
}

pub(crate) fn memsample(_: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    reply(&memory())
}

pub(crate) fn memdump(_: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    let memory = memory().unwrap_or_else(|| "unknown".to_owned());
    reply(&format!("- rss (sample):\n-    > {memory},\n- rss (end): {memory}.\n"))
}

pub(crate) fn objgraph(_: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    Err(PythonError::new("ImportError", "Requires the objgraph library"))
}

/// The settings by name: those that were given, or all of them.
fn settings(controlled: &Controlled, with_defaults: bool) -> BTreeMap<&'static str, Json> {
    let config = controlled.process.settler.publisher.config();
    let defaults = SETTINGS.iter().filter(|_| with_defaults).map(|setting| (setting.name, shown(setting.default)));
    let mut settings: BTreeMap<_, _> = defaults.collect();
    settings.extend(config.changed().map(|given| (given.name, shown(&given.shown))));
    settings
}

/// A setting as it may be printed: a number, a truth value or null where it is one, else the text.
fn shown(text: &str) -> Json {
    let plain = match text {
        "none" => Some(Json::NULL),
        _ => Json::from_text(text).ok().filter(|json| !json.as_str().starts_with(['{', '[', '"'])),
    };
    plain.or_else(|| Json::from_serialize(text).ok()).unwrap_or(Json::NULL)
}

pub(crate) fn conf(controlled: &Arc<Controlled>, arguments: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    let with_defaults = arguments.is_true("with_defaults");
    match &controlled.inspected {
        Some(app) => reply(if with_defaults { &app.conf_with_defaults } else { &app.conf }),
        None => reply(&settings(controlled, with_defaults)),
    }
}

/// The version of Celery whose messages, commands and results this worker speaks. Readers of a report look for it.
const SPOKEN: &str = "5.7";

pub(crate) fn report(controlled: &Arc<Controlled>, _: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    if let Some(app) = &controlled.inspected {
        return Ok(Answer::Reply(ok_reply(&app.report)));
    }
    let publisher = &controlled.process.settler.publisher;
    let results = controlled.process.backends.app().map_or("none".to_owned(), |backend| backend.address().to_string());
    let mut text = format!(
        "\nsoftware -> celery:{SPOKEN} (its messages) apium:{}\nplatform -> system:{} arch:{}\nloader   -> apium\nsettings -> transport:{} results:{results}\n\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        publisher.broker().address().scheme(),
    );
    for (name, value) in settings(controlled, false) {
        // Writing into a text does not fail.
        let _ = writeln!(text, "{name}: {}", apium_protocol::value::repr_plain::repr(&value));
    }
    Ok(Answer::Reply(ok_reply(&text)))
}

/// Attributes of a task that Celery shows where nobody names any.
const DEFAULT_ATTRIBUTES: [&str; 3] = ["exchange", "routing_key", "rate_limit"];

pub(crate) fn registered(controlled: &Arc<Controlled>, arguments: &GivenArguments<'_>, _: &ControlRequest) -> Answered {
    let asked = arguments.texts("taskinfoitems")?;
    let attributes: Vec<&str> = match asked.is_empty() {
        true => DEFAULT_ATTRIBUTES.to_vec(),
        false => asked.iter().map(String::as_str).collect(),
    };
    let with_builtins = arguments.is_true("builtins");
    let is_builtin = |name: &str| name.starts_with("celery.") || name.starts_with("apium.");
    let registry = &controlled.process.intake.registry;
    let mut lines: Vec<String> = registry
        .iter()
        .filter(|task| with_builtins || !is_builtin(&task.name))
        .map(|task| {
            let shown = |name: &&str| attribute(controlled, task, name).map(|value| format!("{name}={value}"));
            let fields: Vec<String> = attributes.iter().filter_map(shown).collect();
            if fields.is_empty() { task.name.to_string() } else { format!("{} [{}]", task.name, fields.join(" ")) }
        })
        .collect();
    lines.sort();
    lines.dedup();
    reply(&lines)
}

/// An attribute of a task as Python's `str` shows it; `None` where it has none.
fn attribute(controlled: &Controlled, task: &RegisteredTask, name: &str) -> Option<String> {
    let (effective, options) = (&task.effective, &task.options);
    let limits = &controlled.process.task_limits;
    let flag = |yes: bool| Some(if yes { "True" } else { "False" }.to_owned());
    let seconds = |span: std::time::Duration| {
        let seconds = span.as_secs_f64();
        if seconds.fract() == 0.0 { format!("{seconds:.0}") } else { seconds.to_string() }
    };
    let time = limits.time(&task.name);
    match name {
        "name" => Some(task.name.to_string()),
        "max_retries" => effective.max_retries.map(|most| most.to_string()),
        "default_retry_delay" => Some(seconds(effective.default_retry_delay)),
        "rate_limit" => match limits.rate(&task.name) {
            Some(set) => set,
            None => {
                options.rate_limit.as_ref().map(ToString::to_string).or_else(|| effective.rate_limit.map(rate_text))
            }
        },
        "time_limit" => time.map_or(effective.time_limit, |time| time.hard).map(seconds),
        "soft_time_limit" => time.map_or(effective.soft_time_limit, |time| time.soft).map(seconds),
        "acks_late" => flag(effective.acks_late),
        "acks_on_failure_or_timeout" => flag(effective.acks_on_failure && effective.acks_on_timeout),
        "track_started" => flag(effective.track_started),
        "ignore_result" => flag(effective.ignore_result),
        "store_errors_even_if_ignored" => flag(effective.store_errors_even_if_ignored),
        "reject_on_worker_lost" => flag(effective.reject_on_worker_lost),
        _ => None,
    }
}

fn rate_text(limit: RateLimit) -> String {
    format!("{}/s", limit.per_second)
}
