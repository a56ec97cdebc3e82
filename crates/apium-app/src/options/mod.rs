//! What a task and a call may be told.

pub mod call_options;
pub mod effective_options;
pub(crate) mod field;
pub mod rate_limit;
pub mod task_options;
pub(crate) mod wire_options;
