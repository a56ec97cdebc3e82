//! The reference page of the settings, made from the table, and the settings of Celery that are not in it.

use crate::config::table::SETTINGS;

/// Settings that Celery has and Apium lacks, each with what is here instead. A name that ends with `*` stands for all
/// that begin so.
const ONLY_CELERYS: &[(&[&str], &str)] = &[
    (
        &["broker_use_ssl", "redis_backend_use_ssl"],
        "write rediss:// as the scheme of the address; `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs` \
         are options of its query, or of the transport options",
    ),
    (
        &["broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost", "broker_transport"],
        "it is a part of `broker_url`",
    ),
    (&["broker_login_method"], "Redis and SQLite have one way to log in"),
    (&["redis_host", "redis_port", "redis_db", "redis_username", "redis_password"], "it is a part of `result_backend`"),
    (
        &["redis_socket_*", "redis_retry_on_timeout", "redis_max_connections"],
        "the driver keeps a few connections and opens them again by itself; `socket_timeout` is an option of its address",
    ),
    (&["broker_read_url", "broker_write_url"], "`broker_url` is read and written"),
    (&["broker_failover_strategy"], "several addresses in `broker_url`, with `;` between, are tried in their order"),
    (
        &[
            "broker_connection_retry",
            "broker_connection_retry_on_startup",
            "broker_connection_max_retries",
            "broker_channel_error_retry",
        ],
        "a worker tries until its broker answers; `task_publish_retry_policy` and `broker_publish_timeout` bound a call",
    ),
    (
        &["broker_heartbeat", "broker_heartbeat_checkrate"],
        "drivers watch their connections by themselves; `worker_lease` says when a silent worker is taken for dead",
    ),
    (
        &[
            "broker_native_delayed_delivery_queue_type",
            "task_default_queue_type",
            "task_create_missing_queue_type",
            "worker_detect_quorum_queues",
        ],
        "it is for RabbitMQ, for which there is no driver",
    ),
    (&["beat_*"], "there is no scheduler; Celery's beat can send to the workers"),
    (&["imports", "include"], "tasks are a part of the program, and found when it starts"),
    (&["control_*", "worker_enable_remote_control", "worker_state_db"], "there is no remote control"),
    (&["event_*", "worker_send_task_events", "task_send_sent_event"], "there are no events"),
    (
        &["result_serializer", "result_compression", "result_accept_content"],
        "results are written as JSON, and all of Celery's forms but pickle are read",
    ),
    (
        &[
            "result_backend_always_retry",
            "result_backend_max_retries",
            "result_backend_base_sleep_between_retries_ms",
            "result_backend_max_sleep_between_retries_ms",
        ],
        "drivers connect again and repeat what failed by themselves",
    ),
    (&["result_cache_max"], "a result object keeps its result once it has seen it ready"),
    (&["result_exchange", "result_exchange_type", "result_persistent"], "it is for RPC over AMQP"),
    (&["result_failure_expires"], "`result_expires` is for every state"),
    (&["result_chord_retry_interval"], "every result backend counts the parts of a chord; nothing is polled"),
    (&["task_protocol"], "protocol 2 is written, and both are read"),
    (&["task_remote_tracebacks"], "a traceback is text"),
    (&["task_repr_maxlevels"], "three levels are shown, as by default in Celery"),
    (&["task_acks_on_failure_or_timeout"], "`task_acks_on_failure` and `task_acks_on_timeout` are two settings"),
    (
        &[
            "task_retry_on_worker_lost",
            "worker_max_tasks_per_child",
            "worker_max_memory_per_child",
            "worker_pool_*",
            "worker_proc_alive_timeout",
            "worker_lost_wait",
        ],
        "tasks run on threads and on tokio, and not in child processes",
    ),
    (&["security_*"], "messages are not signed"),
    (
        &["worker_log_*", "worker_task_log_*", "worker_redirect_stdouts*", "worker_hijack_root_logger"],
        "the options `--loglevel` and `--log-format` say what is logged and how; a program may have its own subscriber of \
         `tracing`",
    ),
    (&["worker_eta_task_limit"], "messages with an eta wait in the broker and cost a worker nothing"),
    (
        &["worker_disable_prefetch", "worker_enable_prefetch_count_reduction"],
        "`worker_prefetch_multiplier` says how far ahead is fetched",
    ),
    (
        &["worker_cancel_long_running_tasks_on_connection_loss", "worker_deduplicate_successful_tasks"],
        "a message stays with its live worker, whatever happens to the connection",
    ),
    (&["worker_direct"], "a queue for one worker is one that only this worker consumes"),
    (&["worker_enable_soft_shutdown_on_idle"], "an idle worker stops at once"),
    (
        &["worker_agent", "worker_autoscaler", "worker_consumer", "worker_timer", "worker_timer_precision"],
        "the parts of a worker cannot be exchanged",
    ),
    (
        &[
            "arangodb_*",
            "azureblockblob_*",
            "cache_*",
            "cassandra_*",
            "cosmosdbsql_*",
            "couchbase_*",
            "database_*",
            "elasticsearch_*",
            "gcs_*",
            "mongodb_*",
            "s3_*",
        ],
        "there is no such result backend; Redis and SQLite are here",
    ),
];

/// What is here instead of a setting that only Celery has. `None` for a name that Celery does not have either.
pub fn only_celerys(name: &str) -> Option<&'static str> {
    let is = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *pattern == name,
    };
    ONLY_CELERYS.iter().find(|(patterns, _)| patterns.iter().any(is)).map(|(_, instead)| *instead)
}

/// Every setting as Markdown: one section for each part of Apium, one row for each setting.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Names are Celery's, in lower case. A setting is given by the builder of the app, in `apium.toml`, as a variable\n\
         (`APIUM_` and the name in upper case), or by a flag of the command line. A later one of these wins. In a\n\
         variable, a list is a text with commas.\n\n\
         The options of a driver are a table whose values may be lists and tables: `[broker_transport_options]` in\n\
         `apium.toml`, JSON or `a=1,b=[1,2]` in a variable. Each driver has its own options, with their types: see\n\
         [REDIS.md](REDIS.md) and [SQLITE.md](SQLITE.md). Their values are never printed.\n\n\
         The table `[app]` of `apium.toml` belongs to the program: `settings.app::<T>()` reads it with serde.\n\
         `APIUM_APP__NAME` and `APIUM_APP__TABLE__NAME` win over its entries. Its values are never printed.\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            page.push_str(&format!("\n## {group}\n\n| setting | default | allowed | meaning |\n|---|---|---|---|\n"));
        }
        let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let row = [setting.default, setting.kind, setting.doc].map(cell).join(" | ");
        page.push_str(&format!("| `{}` | {row} |\n", setting.name));
    }
    page.push_str(
        "\n## Celery's settings that are not here\n\n\
         Each is refused with this text. A `*` stands for every ending.\n\n\
         | setting | here |\n|---|---|\n",
    );
    for (names, instead) in ONLY_CELERYS {
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        page.push_str(&format!("| {names} | {instead} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row() {
        let page = markdown();
        for setting in SETTINGS {
            assert!(page.contains(&format!("| `{}` | ", setting.name)), "{} is missing", setting.name);
        }
        assert_eq!(page.matches("\n## ").count(), 7, "each part has one section, and so have Celery's settings");
        for (names, _) in ONLY_CELERYS {
            assert!(names.iter().all(|name| page.contains(&format!("`{name}`"))), "{names:?}");
        }
    }

    #[test]
    fn no_setting_is_said_to_be_celerys_alone() {
        for setting in SETTINGS {
            assert_eq!(only_celerys(setting.name), None, "{}", setting.name);
        }
        assert!(only_celerys("broker_use_ssl").is_some_and(|text| text.contains("rediss://")));
        assert!(only_celerys("cassandra_port").is_some() && only_celerys("task_serialiser").is_none());
    }
}
