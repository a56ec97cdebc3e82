//! Payloads of 100 bytes to 1 MB.

use std::time::Instant;

use apium::prelude::BoxError;

use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, fill, queue_names};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// Bytes of the argument.
pub const BYTES: [u64; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];

/// Sends messages of each size, and drains them.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let (most, budget) = size.choose((20_000, 200_000_000), (200_000, 2_000_000_000));
    let server = Server::start().await?;
    for bytes in BYTES {
        let (database, queues, count) = (server.fresh(), queue_names(1), most.min(budget / bytes));
        let app = app(&database.url, false).await?;
        let empty = server.info("memory", "used_memory").await?;
        let (began, busy) = (Instant::now(), server.processor()?);
        let received = server.info("stats", "total_net_input_bytes").await?;
        fill(&app, &queues, count, bytes).await?;
        report::figure(&format!("payloads_{bytes}_filled"), count as f64 / began.elapsed().as_secs_f64(), "/s");
        let busy = server.processor()?.saturating_sub(busy).as_secs_f64() * 1e6 / count as f64;
        report::figure(&format!("payloads_{bytes}_filled_server"), busy, "µs");
        let received = server.info("stats", "total_net_input_bytes").await? - received;
        report::figure(&format!("payloads_{bytes}_filled_network"), received / count as f64, "bytes");
        let used = server.info("memory", "used_memory").await? - empty;
        report::figure(&format!("payloads_{bytes}_memory"), used / count as f64, "bytes");
        app.close().await?;
        let mut look = Look::new(&server, &database, &queues).await?;
        let crew = Crew::start(1, &database.url, 1, Some(8), false)?;
        let before = crew.processor()?;
        let span = look.watch(count, count).await?;
        span.report("payloads", bytes);
        report::figure(&format!("payloads_{bytes}_megabytes"), span.rate * bytes as f64 / 1e6, "MB/s");
        let spent = crew.processor()?.saturating_sub(before).as_secs_f64() * 1e6 / count as f64;
        report::figure(&format!("payloads_{bytes}_worker"), spent, "µs");
        crew.stop()?;
        server.clear(&database).await?;
    }
    Ok(())
}
