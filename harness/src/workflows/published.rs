//! How long it takes until all messages of a large group are in the queue.

use std::time::Instant;

use apium::canvas::send;
use apium::prelude::*;

use crate::redis::kit::server::Server;
use crate::report;
use crate::workflows::flow::Flow;
use crate::workflows::worker;

/// Measures a group and a chord of `size` tasks.
pub async fn measure(size: u64) -> Result<(), BoxError> {
    let server = Server::start().await?;
    for flow in [Flow::Group, Flow::Chord] {
        let database = server.fresh();
        let app = worker::app(&database.url).await?;
        // The first send opens connections.
        send(&app, Flow::Group.node(1)?).await?;
        let started = Instant::now();
        send(&app, flow.node(size)?).await?;
        report::figure(&format!("published_{}", flow.name()), started.elapsed().as_secs_f64(), "s");
        app.close().await?;
        let leftover = server.clear(&database).await?;
        report::figure("unsent", (size + 1).abs_diff(leftover.messages) as f64, "tasks");
    }
    Ok(())
}
