//! The pools in which bodies of tasks run: `async fn` on tokio (`reactor`), plain `fn` on the worker's own threads
//! (`thread_pool`), and both in child processes (`process`).

pub(crate) mod body;
pub(crate) mod guard;
pub mod kind;
pub(crate) mod panics;
pub(crate) mod pool;
pub(crate) mod pools;
pub mod process;
pub(crate) mod reactor;
pub(crate) mod running_app_code;
pub(crate) mod thread_pool;
pub(crate) mod threads;
pub(crate) mod watchdog;
