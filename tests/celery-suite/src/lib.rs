//! Runs Celery's own integration tests, `t/integration` of its source distribution, with a worker of Apium in place of
//! Celery's or beside it. The tests and what they need come from PyPI; nothing of them is in this repository.
//!
//! `worker/` is the worker, with a port of the tasks that the tests call. `plugin/` makes the tests start it.
//! `exceptions.toml` names the tests that fail, with the reasons.

pub mod exceptions;
pub mod install;
pub mod outcomes;
pub mod run;
pub mod table;
