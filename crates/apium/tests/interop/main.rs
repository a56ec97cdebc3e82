//! Python and Rust on one Redis, and on one RabbitMQ: each as producer, as worker and as reader of results, in every
//! combination.
//!
//! The Python side is Celery itself: `tests/interop/tasks.py` as its worker, `tests/interop/client.py` as producer and
//! reader. The Rust worker is the example `interop`, which has the same tasks. A third worker is Apium's with the
//! Python app in child processes. One worker of each kind serves all tests that need no other settings.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper fails its test")]

#[macro_use]
mod kit;

mod canvas;
mod captured;
mod celery_apps;
mod choices;
mod ends;
mod exchanges;
mod groups;
mod leases;
mod mixed;
mod odd_values;
mod operating;
mod order;
mod rabbitmq;
mod settings;
mod values;
