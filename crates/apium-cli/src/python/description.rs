//! What a child says of the Celery app that it has loaded (`docs/CHILD-PROTOCOL.md`).

use std::collections::BTreeMap;

use apium_worker::pool::process::child_program::InspectedApp;
use serde::Deserialize;
use serde_json::Value;

/// A Celery app.
#[derive(Debug, Deserialize)]
pub(crate) struct Description {
    /// The version of Python.
    pub(crate) python: String,
    /// The version of Celery.
    pub(crate) celery: String,
    pub(crate) tasks: Vec<DescribedTask>,
    /// The settings that the app sets, by their new names.
    pub(crate) conf: BTreeMap<String, Value>,
    /// Parts of settings that have no JSON form, and what they are.
    #[serde(default)]
    pub(crate) conf_left_out: BTreeMap<String, Value>,
    /// Settings in effect.
    pub(crate) effective: BTreeMap<String, Value>,
    pub(crate) backend: DescribedBackend,
    pub(crate) inspected: InspectedApp,
}

/// A task. An option that is not set is null.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DescribedTask {
    pub(crate) name: String,
    pub(crate) acks_late: Option<bool>,
    pub(crate) acks_on_failure: Option<bool>,
    pub(crate) acks_on_timeout: Option<bool>,
    pub(crate) acks_on_failure_or_timeout: Option<bool>,
    pub(crate) reject_on_worker_lost: Option<bool>,
    pub(crate) retry_on_worker_lost: Option<bool>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) store_errors_even_if_ignored: Option<bool>,
    pub(crate) rate_limit: Option<Value>,
    pub(crate) time_limit: Option<f64>,
    pub(crate) soft_time_limit: Option<f64>,
    pub(crate) max_retries: Option<u32>,
    pub(crate) default_retry_delay: Option<f64>,
    pub(crate) priority: Option<u8>,
    pub(crate) queue: Option<String>,
    pub(crate) send_events: Option<bool>,
    pub(crate) resultrepr_maxsize: Option<usize>,
    /// The parameters of its function, where Celery's worker may call it as an errback.
    pub(crate) called_with: Option<DescribedParameters>,
}

/// The parameters of a function.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribedParameters {
    pub(crate) positional: Vec<String>,
    pub(crate) keyword_only: Vec<String>,
    pub(crate) var_args: bool,
    pub(crate) var_kwargs: bool,
}

/// The result backend.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribedBackend {
    /// The class.
    pub(crate) class: String,
    pub(crate) url: Option<String>,
    /// Whether it is Celery's for Redis, unchanged, and stores JSON.
    pub(crate) is_plain: bool,
}
