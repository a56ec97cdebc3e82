//! Consumers: waits, busy runtimes, faults at the worst moment, and entries of Celery's workers.

mod busy_runtime;
mod demand;
mod faults;
mod kombu_unacked;
mod no_queues;
mod tracking;
mod waiting;
