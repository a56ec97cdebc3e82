//! The tasks of a Celery app as tasks of the worker.

use std::time::Duration;

use apium_app::options::task_options::TaskOptions;
use apium_app::task::arguments::{Parameter, ParameterList};
use apium_app::task::foreign::ForeignTask;

use crate::python::description::{DescribedParameters, DescribedTask};

/// A task of the app of this name. What its child does itself is left out: retries, serializers, STARTED.
pub(crate) fn task(described: &DescribedTask, app: &str) -> ForeignTask {
    let span = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let both = described.acks_on_failure_or_timeout;
    let mut options = TaskOptions::NEW;
    options.acks_late = described.acks_late;
    options.acks_on_failure = described.acks_on_failure.or(both);
    options.acks_on_timeout = described.acks_on_timeout.or(both);
    options.reject_on_worker_lost = described.reject_on_worker_lost;
    options.retry_on_worker_lost = described.retry_on_worker_lost;
    options.ignore_result = described.ignore_result;
    options.store_errors_even_if_ignored = described.store_errors_even_if_ignored;
    options.track_started = Some(false);
    options.rate_limit = match &described.rate_limit {
        Some(serde_json::Value::String(text)) => Some(text.clone().into()),
        Some(serde_json::Value::Number(number)) => Some(format!("{number}/s").into()),
        _ => None,
    };
    options.time_limit = span(described.time_limit);
    // Celery takes a soft limit above the hard one and never comes to it.
    let hard = options.time_limit;
    options.soft_time_limit = span(described.soft_time_limit).filter(|soft| hard.is_none_or(|hard| *soft <= hard));
    // Without a limit it is retried for ever, as Celery's `None` says.
    options.max_retries = Some(described.max_retries);
    options.default_retry_delay = span(described.default_retry_delay);
    options.priority = described.priority.map(Into::into);
    options.queue = described.queue.clone().map(Into::into);
    options.send_events = described.send_events;
    options.resultrepr_maxsize = described.resultrepr_maxsize;
    let called_with = described.called_with.as_ref().map(|called_with| parameters(called_with, &described.name));
    ForeignTask { name: described.name.clone(), options, location: format!("the Celery app {app}"), called_with }
}

/// The parameters of a task, whose names stay as long as the process: an app is loaded once.
fn parameters(described: &DescribedParameters, task: &str) -> ParameterList {
    let kept = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let positional = described.positional.iter().map(|name| Parameter::required(kept(name)));
    let by_keyword = described.keyword_only.iter().map(|name| Parameter::required(kept(name)).by_keyword());
    let named: Vec<Parameter> = positional.chain(by_keyword).collect();
    let (var_args, var_kwargs) = (described.var_args, described.var_kwargs);
    ParameterList { function: kept(task), named: Box::leak(named.into_boxed_slice()), var_args, var_kwargs }
}
