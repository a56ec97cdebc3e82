//! Python and Rust on one Redis: each as producer, as worker and as reader of results, in every combination.
//!
//! The other side is Celery itself: `tests/interop/tasks.py` as its worker, `tests/interop/client.py` as producer and reader. The Rust
//! worker is the example `interop`, which has the same tasks. One worker of each kind serves all tests that need no settings of
//! their own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

#[macro_use]
mod lane;

mod canvas;
mod captured;
mod choices;
mod ends;
mod exchanges;
mod groups;
mod leases;
mod mixed;
mod notes;
mod order;
mod python;
mod rust;
mod seen;
mod settings;
mod side;
mod values;
mod worker;
mod world;
