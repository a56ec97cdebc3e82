//! The commands of a worker, one file for each family.

pub(crate) mod arguments;
pub(crate) mod delayed_tasks;
pub(crate) mod dispatch;
pub(crate) mod limit_commands;
pub(crate) mod pool_commands;
pub(crate) mod process_facts;
pub(crate) mod queue_commands;
pub(crate) mod revoke_commands;
pub(crate) mod run_commands;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod task_info;
pub(crate) mod worker_commands;
