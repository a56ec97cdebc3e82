//! The options of tasks and of calls: what each type of them holds, how they are combined, and how messages carry them.

pub mod call_options;
pub mod effective_options;
pub(crate) mod field;
pub mod priority;
pub mod rate_limit;
pub mod task_options;
pub(crate) mod wire_options;
