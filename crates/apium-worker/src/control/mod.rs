//! Remote control: a worker hears the requests that everybody broadcasts, does what they ask, and replies. Beside that
//! it keeps to what all workers share: revokes and paused queues.

pub(crate) mod autoscaler;
pub mod call;
pub(crate) mod commands;
pub(crate) mod consumed_queues;
pub(crate) mod controlled;
pub(crate) mod mingle;
pub(crate) mod own_commands;
pub(crate) mod pattern;
pub(crate) mod python_error;
pub(crate) mod reply;
pub(crate) mod requests;
pub(crate) mod service;
pub(crate) mod shared_records;
pub(crate) mod start;
