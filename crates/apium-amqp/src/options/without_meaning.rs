//! The options of kombu and py-amqp that this driver accepts and does not read.

/// They are accepted, so that Celery and Apium can share one configuration. Publishes are always confirmed, and the
/// connection is always kept alive.
pub(crate) const WITHOUT_MEANING: &[&str] = &[
    "client_properties",
    "confirm_publish",
    "confirm_timeout",
    "interval_max",
    "interval_start",
    "interval_step",
    "login_method",
    "max_retries",
    "on_blocked",
    "on_unblocked",
    "read_timeout",
    "socket_settings",
    "write_timeout",
];
