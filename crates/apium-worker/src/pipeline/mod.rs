//! The steps of a run, from the delivery to the acknowledgement.

pub(crate) mod complete;
pub(crate) mod completer;
pub(crate) mod completion;
pub(crate) mod ends;
pub(crate) mod errback_runner;
pub(crate) mod executor;
pub(crate) mod follow;
pub(crate) mod hooks;
pub(crate) mod intake;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod run_queue;
pub(crate) mod settle;
pub(crate) mod task_run;
pub(crate) mod verdict;
