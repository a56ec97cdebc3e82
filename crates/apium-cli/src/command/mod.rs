//! The subcommands, one a file.

pub(crate) mod call;
pub(crate) mod dead;
pub(crate) mod list;
pub(crate) mod purge;
pub(crate) mod queues;
pub(crate) mod registered;
pub(crate) mod report;
pub(crate) mod result;
pub(crate) mod settings;
pub(crate) mod top;
pub(crate) mod worker;
