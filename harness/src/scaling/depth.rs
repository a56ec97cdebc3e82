//! 10 to 10,000,000 messages in one queue, and what they cost in memory.

use std::time::Instant;

use apium::prelude::BoxError;

use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, fill, queue_names};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// How many messages are behind those that are drained.
pub const DEPTHS: [u64; 7] = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Bytes of the argument: small, since ten million messages have to fit into the memory of a machine.
const PAYLOAD: u64 = 8;

/// Fills the queue to each depth, one after the other, and drains some messages more than that.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let drained = size.choose(20_000, 200_000);
    let depths = size.choose(&DEPTHS[..5], &DEPTHS[..]);
    let server = Server::start().await?;
    let (database, queues) = (server.fresh(), queue_names(1));
    let app = app(&database.url, false).await?;
    // The first call declares the queue, which is not to count.
    fill(&app, &queues, 1, PAYLOAD).await?;
    let empty = server.info("memory", "used_memory").await?;
    let mut present = 1;
    for &depth in depths {
        let (added, began) = (depth + drained - present, Instant::now());
        fill(&app, &queues, added, PAYLOAD).await?;
        report::figure(&format!("depth_{depth}_filled"), added as f64 / began.elapsed().as_secs_f64(), "/s");
        let used = server.info("memory", "used_memory").await? - empty;
        report::figure(&format!("depth_{depth}_memory"), used / (depth + drained) as f64, "bytes");
        let mut look = Look::new(&server, &database, &queues).await?;
        let crew = Crew::start(1, &database.url, 1, Some(8), false)?;
        look.watch(depth + drained, drained).await?.report("depth", depth);
        crew.stop()?;
        present = look.left().await?;
    }
    app.close().await?;
    server.clear(&database).await?;
    Ok(())
}
