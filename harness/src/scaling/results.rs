//! Up to 1,000,000 stored results.

use apium::prelude::BoxError;
use std::time::Instant;

use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, fill, queue_names};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// How many results are stored in the end.
pub const COUNTS: [u64; 3] = [10_000, 100_000, 1_000_000];
/// How many results are read.
const READS: usize = 1_000;

/// Stores results up to each count, and measures the last of them.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let counts = size.choose(&COUNTS[..2], &COUNTS[..]);
    let server = Server::start().await?;
    let (database, queues) = (server.fresh(), queue_names(1));
    let app = app(&database.url, true).await?;
    let empty = server.info("memory", "used_memory").await?;
    let mut present = 0;
    for &count in counts {
        fill(&app, &queues, count - present, 8).await?;
        let mut look = Look::new(&server, &database, &queues).await?;
        let crew = Crew::start(1, &database.url, 1, Some(8), true)?;
        look.watch(count - present, count - present).await?.report("results", count);
        crew.stop()?;
        present = count;
        let used = server.info("memory", "used_memory").await? - empty;
        report::figure(&format!("results_{count}_memory"), used / count as f64, "bytes");
        // Results that are there already, read one after the other.
        let ids = some_ids(&database.url).await?;
        let began = Instant::now();
        for id in &ids {
            app.result::<()>(id.as_str()).get().await?;
        }
        let each = began.elapsed().as_secs_f64() * 1e3 / ids.len() as f64;
        report::figure(&format!("results_{count}_read"), each, "ms");
    }
    app.close().await?;
    server.clear(&database).await?;
    Ok(())
}

/// The ids of some tasks with a stored result.
async fn some_ids(address: &str) -> Result<Vec<String>, BoxError> {
    let mut connection = crate::redis::kit::server::connect(address).await?;
    let (mut cursor, mut ids) = (0_u64, Vec::new());
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg("celery-task-meta-*")
            .arg("COUNT")
            .arg(READS)
            .query_async(&mut connection)
            .await?;
        ids.extend(keys.iter().filter_map(|key| key.strip_prefix("celery-task-meta-").map(str::to_owned)));
        if next == 0 || ids.len() >= READS {
            ids.truncate(READS);
            return Ok(ids);
        }
        cursor = next;
    }
}
