//! Python and Rust on one Redis: each as producer, as worker and as reader of results, in every combination.
//!
//! The Python side is Celery itself: `tests/interop/tasks.py` as its worker, `tests/interop/client.py` as producer and
//! reader. The Rust worker is the example `interop`, which has the same tasks. One worker of each side serves all tests
//! that need no other settings.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper fails its test")]

#[macro_use]
mod kit;

mod canvas;
mod captured;
mod choices;
mod ends;
mod events;
mod exchanges;
mod groups;
mod leases;
mod mixed;
mod odd_values;
mod operator;
mod order;
mod settings;
mod values;
