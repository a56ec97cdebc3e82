//! Rust as caller and as reader of results, from the same description of a call that Python gets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium::call::{CallOptions, When};
use apium::prelude::*;
use jiff::fmt::temporal::Pieces;
use serde_json::Value;

use crate::kit::read_result::{Raised, ReadResult};
use crate::kit::worker::{WorkerSettings, as_text};

/// How long a result may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Settings of how Celery writes results. A Rust program reads all formats without them.
const OF_CELERY: [&str; 2] = ["result_serializer", "result_compression"];

/// An app on a database, without tasks.
pub(crate) async fn app(url: &str, settings: &WorkerSettings) -> App {
    app_with_results(url, url, settings).await
}

/// The same with results elsewhere.
pub(crate) async fn app_with_results(url: &str, results: &str, settings: &WorkerSettings) -> App {
    let mut of_rust = Settings::default();
    for (name, value) in settings.iter().filter(|(name, _)| !OF_CELERY.contains(name)) {
        of_rust.set_flag(name, as_text(value), "--setting").unwrap();
    }
    let builder = App::builder("interop").autodiscover(false).config(of_rust);
    builder.broker(url).backend(results).build().await.unwrap()
}

/// A signature, with options by the names of `apply_async`.
pub(crate) fn signature(
    app: &App,
    task: &str,
    args: &Value,
    kwargs: &Value,
    options: &Value,
) -> Signature<Anything, Json> {
    let json = |value: &Value| Json::from_serialize(value).unwrap();
    let args = args.as_array().into_iter().flatten().map(json);
    let kwargs = kwargs.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), json(value)));
    let mut signature = app.sig(task).raw_args(args).raw_kwargs(kwargs).signature();
    // In Celery each stamp is an option of its own; `stamped_headers` has their names.
    let stamps: Vec<&str> =
        options["stamped_headers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, value) in options.as_object().into_iter().flatten().filter(|(name, _)| *name != "stamped_headers") {
        match stamps.contains(&&**name) {
            true => {
                signature.options_mut().rare_mut().stamps.insert(name.clone(), json(value));
            }
            false => set(signature.options_mut(), name, value),
        }
    }
    signature
}

/// Sends a call and returns its id.
pub(crate) async fn send(app: &App, task: &str, args: &Value, kwargs: &Value, options: &Value) -> String {
    signature(app, task, args, kwargs, options).send(app).await.unwrap().id().to_string()
}

fn set(options: &mut CallOptions, name: &str, value: &Value) {
    let text = || value.as_str().unwrap().to_owned();
    match name {
        "task_id" => options.task_id = Some(text().into()),
        "countdown" => options.countdown = Some(seconds(value)),
        "eta" => options.eta = Some(instant(value)),
        "expires" if value.is_string() => options.expires = Some(apium::call::Expires::At(instant(value))),
        "expires" => options.expires = Some(apium::call::Expires::In(seconds(value))),
        "queue" => options.queue = Some(text().into()),
        "exchange" => options.exchange = Some(text().into()),
        "routing_key" => options.routing_key = Some(text().into()),
        "priority" => options.priority = Some(u8::try_from(value.as_u64().unwrap()).unwrap().into()),
        "serializer" => options.serializer = Some(text().into()),
        "compression" => options.compression = Some(text().into()),
        "time_limit" => options.time_limit = value.as_f64(),
        "soft_time_limit" => options.soft_time_limit = value.as_f64(),
        "ignore_result" => options.ignore_result = value.as_bool(),
        "delivery_mode" => options.delivery_mode = Some(value.as_u64().unwrap().try_into().unwrap()),
        "retry" => options.retry = value.as_bool(),
        "retry_policy" => options.retry_policy = Some(policy(value)),
        _ => set_rare(options, name, value),
    }
}

fn set_rare(options: &mut CallOptions, name: &str, value: &Value) {
    let rare = options.rare_mut();
    let text = || value.as_str().unwrap().to_owned();
    match name {
        "headers" => {
            let headers = value.as_object().unwrap().iter();
            rare.headers = headers.map(|(name, value)| (name.clone(), Json::from_serialize(value).unwrap())).collect();
        }
        "shadow" => rare.shadow = Some(text()),
        "group_id" => rare.group_id = Some(text()),
        "group_index" => rare.group_index = value.as_i64(),
        "root_id" => rare.root_id = Some(text().into()),
        "parent_id" => rare.parent_id = Some(text().into()),
        "reply_to" => rare.reply_to = Some(text().into()),
        "argsrepr" => rare.argsrepr = Some(text()),
        "kwargsrepr" => rare.kwargsrepr = Some(text()),
        property => {
            rare.properties.insert(property.to_owned(), Json::from_serialize(value).unwrap());
        }
    }
}

fn policy(value: &Value) -> RetryPolicy {
    let policy = RetryPolicy::publish().max_retries(value["max_retries"].as_u64().unwrap().try_into().unwrap());
    let policy = policy.interval_start(seconds(&value["interval_start"]));
    policy.interval_step(seconds(&value["interval_step"])).interval_max(seconds(&value["interval_max"]))
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap())
}

/// An instant as a text with its offset. Python's `datetime.max` is the last one.
fn instant(value: &Value) -> When {
    let text = value.as_str().unwrap();
    let instant = if text.starts_with("9999-12-31") { jiff::Timestamp::MAX } else { text.parse().unwrap() };
    When::new(instant, Pieces::parse(text).unwrap().to_numeric_offset())
}

/// Waits for a result, and reads all of it.
pub(crate) async fn get(app: &App, id: &str) -> ReadResult {
    let result = app.result::<Json>(id);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let messages = seen.clone();
    let on_message = move |document: &ResultDocument| {
        messages.lock().unwrap().push((document.state.to_string(), shown(document)));
    };
    result.get().timeout(PATIENCE).on_message(on_message).outcome().await.unwrap();
    let last = result.document().await.unwrap().unwrap();
    let raised = last.state.propagates().then(|| raised(&last));
    let value = if raised.is_some() { Value::Null } else { value(&last.result) };
    let children = last.children.into_iter().flatten().map(|child| child.id.to_string()).collect();
    let messages = seen.lock().unwrap().clone();
    ReadResult { state: last.state.to_string(), value, raised, traceback: last.traceback, children, messages }
}

/// The state of a result now, and what is stored with it.
pub(crate) async fn state(app: &App, id: &str) -> (String, Value) {
    match app.result::<Json>(id).document().await.unwrap() {
        Some(document) => (document.state.to_string(), shown(&document)),
        None => ("PENDING".to_owned(), Value::Null),
    }
}

/// JSON as a value to compare.
pub(crate) fn value(json: &Json) -> Value {
    serde_json::from_str(json.as_str()).unwrap()
}

fn shown(document: &ResultDocument) -> Value {
    match document.state.is_exception() {
        true => raised(document).as_json(),
        false => value(&document.result),
    }
}

fn raised(document: &ResultDocument) -> Raised {
    let exception = ExceptionInfo::from_json(&document.result);
    let class = match &exception.exc_module {
        Some(module) => format!("{module}.{}", exception.exc_type),
        None => exception.exc_type.clone(),
    };
    Raised { class, args: exception.exc_message.iter().map(value).collect() }
}
