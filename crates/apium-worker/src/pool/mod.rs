//! Where tasks run: `async fn` on tokio (`async_tasks`), plain `fn` on own threads (`threads`).

pub mod kind;
pub(crate) mod threads;
pub(crate) mod watchdog;
