//! The options of kombu and redis-py that this driver accepts and does not read.

/// Options of kombu and redis-py that have no counterpart here. They are accepted, so that Celery and Apium can share
/// one configuration.
pub(crate) const WITHOUT_MEANING: &[&str] = &[
    "client_name",
    "connection_class",
    "credential_provider",
    "encoding",
    "health_check_interval",
    "max_connections",
    "min_other_sentinels",
    "retry_on_timeout",
    "retry_policy",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "supports_fanout",
    "unacked_mutex_expire",
    "unacked_mutex_key",
    "unacked_restore_interval",
    "unacked_restore_limit",
    "unacked_restore_throttle",
];
