//! The settings of a Celery app as settings of the worker.

use apium_app::config::settings::{Settings, find};
use apium_app::config::value::Value;
use apium_worker::pool::process::messages::ResultsBy;
use serde_json::Value as Plain;

use crate::exit::{CommandError, Result};
use crate::python::description::Description;

/// What the children do themselves, or a worker has its own way of.
const LEFT_OUT: [&str; 8] = [
    "broker_url",
    "result_backend",
    "worker_pool",
    "task_annotations",
    "task_always_eager",
    "task_track_started",
    "result_backend_transport_options",
    "accept_content",
];

/// Serializers that a worker has, too.
const SERIALIZERS: [&str; 3] = ["json", "msgpack", "yaml"];

/// Adds the settings of an app. Returns who stores the results of its tasks.
pub(crate) fn add(described: &Description, settings: &mut Settings) -> Result<ResultsBy> {
    let effective = |name: &str| described.effective.get(name).filter(|value| !value.is_null());
    let text = |name: &str| effective(name).and_then(Plain::as_str);
    if let Some(pool @ ("gevent" | "eventlet")) = text("worker_pool") {
        return Err(CommandError::usage(format!(
            "run the Celery app: it sets worker_pool to {pool}, which needs a worker of Celery"
        ))
        .hint("leave worker_pool out, or set it to prefork"));
    }
    let broker = text("broker_read_url").or(text("broker_url"));
    let broker = broker.ok_or_else(|| CommandError::usage("run the Celery app: it has no broker_url"))?;
    take(settings, "broker_url", &broker.into())?;
    for (name, value) in &described.conf {
        let is_whole = !described.conf_left_out.keys().any(|path| path.starts_with(name));
        if LEFT_OUT.contains(&&**name) || find(name).is_none() || !is_whole {
            continue;
        }
        let value = match &**name {
            "task_queues" => queues(value),
            "task_serializer" if !is_known(value) => continue,
            _ => value.clone(),
        };
        if let Err(error) = take(settings, name, &value) {
            tracing::warn!("the worker goes without a setting of the Celery app: {error}");
        }
    }
    for (path, what) in &described.conf_left_out {
        tracing::debug!("the worker goes without {path} of the Celery app, which is {what}");
    }
    let accepted = described.effective.get("accept_content").and_then(Plain::as_array).cloned().unwrap_or_default();
    let accepted: Vec<Plain> = accepted.into_iter().filter(is_known).collect();
    if !accepted.is_empty() {
        take(settings, "accept_content", &Plain::Array(accepted))?;
    }
    Ok(results(described, settings))
}

fn take(settings: &mut Settings, name: &str, value: &Plain) -> Result<()> {
    Ok(settings.set_of_celery(name, Value::from(value.clone()))?)
}

fn is_known(serializer: &Plain) -> bool {
    serializer.as_str().is_some_and(|name| SERIALIZERS.contains(&name))
}

/// Who stores results: the worker where it has the backend of the app, and else the children by what Celery has for it.
fn results(described: &Description, settings: &mut Settings) -> ResultsBy {
    let backend = &described.backend;
    let Some(url) = backend.url.as_deref().filter(|_| backend.is_plain) else {
        tracing::info!("the child processes store results themselves, in {}", backend.class);
        return ResultsBy::Child;
    };
    let options = described.effective.get("result_backend_transport_options").filter(|options| !options.is_null());
    let taken = take(settings, "result_backend", &url.into()).and_then(|()| match options {
        Some(options) => take(settings, "result_backend_transport_options", options),
        None => Ok(()),
    });
    match taken {
        Ok(()) => ResultsBy::Worker,
        Err(error) => {
            tracing::warn!("the child processes store results themselves: {error}");
            ResultsBy::Child
        }
    }
}

/// kombu's queues, as tables of options by name.
fn queues(value: &Plain) -> Plain {
    let Some(queues) = value.as_array() else { return value.clone() };
    let table = |queue: &Plain| {
        let name = queue.get("name")?.as_str()?.to_owned();
        let mut options = serde_json::Map::new();
        let mut set = |option: &str, value: Option<&Plain>| {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                options.insert(option.to_owned(), value.clone());
            }
        };
        set("exchange", queue.pointer("/exchange/name"));
        set("exchange_type", queue.pointer("/exchange/type"));
        for option in ["routing_key", "max_priority", "durable", "queue_arguments", "binding_arguments"] {
            set(option, queue.get(option));
        }
        Some((name, Plain::Object(options)))
    };
    Plain::Object(queues.iter().filter_map(table).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(change: Plain) -> Description {
        let mut all = json!({
            "python": "3.11.7", "celery": "5.7.0", "tasks": [], "conf": {}, "conf_left_out": {},
            "effective": {"broker_url": "redis://localhost/0", "accept_content": ["json", "pickle"]},
            "backend": {"class": "celery.backends.redis.RedisBackend", "url": "redis://localhost/1", "is_plain": true},
            "inspected": {"conf": {}, "conf_with_defaults": {}, "report": ""},
        });
        for (key, value) in change.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn the_settings_of_the_app_are_those_of_the_worker() {
        let mut settings = Settings::new();
        let conf = json!({
            "task_acks_late": true, "worker_pool": "prefork", "worker_concurrency": 3, "task_serializer": "pickle",
            "task_queues": [{"name": "a", "exchange": {"name": "x", "type": "topic"}, "routing_key": "a.#", "no_ack": false}],
            "worker_log_color": true, "result_expires": 60.0,
        });
        assert_eq!(add(&described(json!({"conf": conf})), &mut settings).unwrap(), ResultsBy::Worker);
        let config = settings.check().unwrap();
        assert!(config.task_acks_late && config.worker_concurrency.is_some_and(|count| count.get() == 3));
        assert_eq!((&*config.task_serializer, &*config.worker_pool), ("json", "async"));
        let queue = &config.task_queues.as_ref().unwrap()[0];
        assert_eq!((&*queue.name, &*queue.exchange, &*queue.routing_key), ("a", "x", "a.#"));
        assert!(config.result_backend.is_some() && config.broker_url.is_some());
    }

    #[test]
    fn a_backend_that_only_celery_has_stays_with_the_children() {
        let backend =
            json!({"class": "django_celery_results.backends.DatabaseBackend", "url": "django-db", "is_plain": false});
        let mut settings = Settings::new();
        assert_eq!(add(&described(json!({"backend": backend})), &mut settings).unwrap(), ResultsBy::Child);
        assert!(settings.check().unwrap().result_backend.is_none());
    }

    #[test]
    fn what_wins_over_the_app_stays() {
        let mut settings = Settings::new();
        settings.set_flag("worker_concurrency", "8", "-c").unwrap();
        add(&described(json!({"conf": {"worker_concurrency": 3}})), &mut settings).unwrap();
        assert_eq!(settings.check().unwrap().worker_concurrency.unwrap().get(), 8);
    }

    #[test]
    fn an_app_for_green_threads_is_refused() {
        let effective = json!({"broker_url": "redis://", "worker_pool": "gevent"});
        let error = add(&described(json!({"effective": effective})), &mut Settings::new()).unwrap_err().to_string();
        assert!(error.contains("gevent"), "{error}");
    }
}
