//! Apium's worker, in its own process like Celery's, and the app of caller and worker. Like Celery's app it has late
//! acknowledgement and results.

use apium::prelude::*;

use crate::child::{Role, stdin_closed};

/// An app on the server at `address`.
pub async fn app(address: &str) -> Result<App, BoxError> {
    Ok(App::builder("bench").broker(address).backend(address).setting("task_acks_late", true).build().await?)
}

/// Starts a worker with this many slots.
pub fn start(address: &str, slots: usize) -> Result<Role, BoxError> {
    Ok(Role::start(&["worker", address, &slots.to_string()])?)
}

/// What the process of [`start`] runs.
pub async fn run(address: &str, slots: usize) -> Result<(), BoxError> {
    let app = app(address).await?;
    app.worker().concurrency(slots).run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}
