//! Consumers: waits, faults at the worst moment, and entries of Celery's workers.

mod faults;
mod kombu_unacked;
mod waiting;
