//! Where tasks run: `async fn` on tokio (`async_tasks`), plain `fn` on own threads (`threads`).

pub(crate) mod async_tasks;
pub mod kind;
pub(crate) mod threads;
