//! The observer, to which each fact is reported once, and whom it tells: monitors by events, dashboards by metrics, and
//! observers of the program.

pub(crate) mod elections;
pub(crate) mod event_fields;
pub(crate) mod event_queue;
pub(crate) mod event_service;
pub(crate) mod fact;
pub(crate) mod heartbeat;
pub(crate) mod metrics;
pub(crate) mod metrics_page;
pub(crate) mod observer;
pub(crate) mod prometheus;
pub(crate) mod services;
pub mod worker_observer;
