//! Apium's worker, in a process of its own as Celery's is, and the app of both sides: late ack and results, as Celery's has them.

use apium::prelude::*;

use crate::child::{Role, told_to_end};

/// An app on the server at `address`.
pub async fn app(address: &str) -> Result<App, BoxError> {
    Ok(App::builder("bench").broker(address).backend(address).setting("task_acks_late", true).build().await?)
}

/// Starts a worker with so many slots.
pub fn start(address: &str, slots: usize) -> Result<Role, BoxError> {
    Ok(Role::start(&["work", address, &slots.to_string()])?)
}

/// The role of [`start`].
pub async fn work(address: &str, slots: usize) -> Result<(), BoxError> {
    let app = app(address).await?;
    app.worker().concurrency(slots).run_until(told_to_end()).await?;
    Ok(app.close().await?)
}
