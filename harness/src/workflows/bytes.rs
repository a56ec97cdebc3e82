//! How many bytes publishing a workflow sends to the server, for each of its tasks.

use apium::canvas::send;
use apium::prelude::*;
use redis::aio::MultiplexedConnection;

use crate::redis::kit::server::{Server, connect};
use crate::report;
use crate::workflows::flow::Flow;
use crate::workflows::worker;

/// The sizes that are compared.
const SIZES: [u64; 4] = [10, 100, 1_000, 10_000];

/// Measures groups and chords of all sizes.
pub async fn measure() -> Result<(), BoxError> {
    let server = Server::start().await?;
    for flow in [Flow::Group, Flow::Chord] {
        let mut each = Vec::new();
        for size in SIZES {
            let bytes = published(&server, flow, size).await? as f64 / nodes(flow, size) as f64;
            report::figure(&format!("bytes_{}_{size}", flow.name()), bytes, "bytes");
            each.push(bytes);
        }
        if let [first, .., last] = each.as_slice() {
            report::figure(&format!("bytes_{}_growth", flow.name()), last / first * 100.0, "%");
        }
    }
    Ok(())
}

fn nodes(flow: Flow, size: u64) -> u64 {
    size + u64::from(flow == Flow::Chord)
}

async fn published(server: &Server, flow: Flow, size: u64) -> Result<u64, BoxError> {
    let database = server.fresh();
    let app = worker::app(&database.url).await?;
    send(&app, Flow::Group.node(1)?).await?;
    let mut look = connect(&database.url).await?;
    // Reading twice shows how many bytes a reading sends itself.
    let (first, before) = (received(&mut look).await?, received(&mut look).await?);
    send(&app, flow.node(size)?).await?;
    let after = received(&mut look).await?;
    app.close().await?;
    server.clear(&database).await?;
    Ok((after - before).saturating_sub(before - first))
}

async fn received(look: &mut MultiplexedConnection) -> Result<u64, BoxError> {
    let text: String = redis::cmd("INFO").arg("stats").query_async(look).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("total_net_input_bytes:"));
    Ok(line.ok_or("read what the server received: it does not say")?.trim().parse()?)
}
