//! How many slots a worker has: what waits for something outside gains from many, what computes does not.

use apium::prelude::*;

use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, computes, queue_names, waits};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// How many slots the worker has.
pub const COUNTS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// How long a task waits, or computes, in milliseconds.
const WAITS: u64 = 10;
const COMPUTES: u64 = 20;

/// Drains tasks that wait and tasks that compute, by a worker with so many slots.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let server = Server::start().await?;
    for count in COUNTS {
        // About as long for each.
        let waiting = (count.max(2) * size.choose(60, 500)).min(size.choose(20_000, 100_000));
        drain(&server, "waits", count, waiting).await?;
        drain(&server, "computes", count, size.choose(200, 2_000)).await?;
    }
    Ok(())
}

async fn drain(server: &Server, kind: &str, slots: u64, tasks: u64) -> Result<(), BoxError> {
    let (database, queues) = (server.fresh(), queue_names(1));
    let app = app(&database.url, false).await?;
    match kind {
        "waits" => drop(waits::batch((0..tasks).map(|_| (WAITS,))).send_all(&app).await?),
        _ => drop(computes::batch((0..tasks).map(|_| (COMPUTES,))).send_all(&app).await?),
    }
    app.close().await?;
    let mut look = Look::new(server, &database, &queues).await?;
    let crew = Crew::start(1, &database.url, 1, Some(slots), false)?;
    let span = look.watch(tasks, tasks).await?;
    report::figure(&format!("slots_{slots}_{kind}"), span.rate, "/s");
    report::figure(&format!("slots_{slots}_{kind}_memory"), crew.memory()?, "MB");
    let farewell = crew.stop()?;
    report::figure(&format!("slots_{slots}_{kind}_p50"), farewell.p50, "ms");
    report::figure(&format!("slots_{slots}_{kind}_p99"), farewell.p99, "ms");
    server.clear(&database).await?;
    Ok(())
}
