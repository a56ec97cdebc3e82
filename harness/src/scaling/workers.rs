//! 1 to 32 worker processes on one server.

use apium::prelude::BoxError;

use crate::redis::kit::server::{Server, connect};
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, fill, queue_names};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// How many workers there are.
pub const COUNTS: [u64; 6] = [1, 2, 4, 8, 16, 32];
/// The slots of each.
const SLOTS: u64 = 8;
/// How long idle workers are watched.
const WATCH: std::time::Duration = std::time::Duration::from_secs(5);

/// Measures a drain by so many workers, and what the same workers cost the server when they are idle.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let messages = size.choose(20_000, 400_000);
    let server = Server::start().await?;
    for count in COUNTS {
        let (database, queues) = (server.fresh(), queue_names(1));
        let app = app(&database.url, false).await?;
        fill(&app, &queues, messages, 64).await?;
        let mut connection = connect(&database.url).await?;
        redis::cmd("RENAME").arg("celery").arg("stock").query_async::<()>(&mut connection).await?;
        let clients = server.info("clients", "connected_clients").await?;
        let crew = Crew::start(count, &database.url, 1, Some(SLOTS), false)?;
        let (before, idle) = (server.commands().await?, server.processor()?);
        tokio::time::sleep(WATCH).await;
        let called = server.commands().await?.since(&before).total() as f64;
        let busy = server.processor()?.saturating_sub(idle).as_secs_f64();
        report::figure(&format!("workers_{count}_idle"), called / WATCH.as_secs_f64(), "/s");
        report::figure(&format!("workers_{count}_idle_busy"), busy / WATCH.as_secs_f64() * 100.0, "%");
        let clients = server.info("clients", "connected_clients").await? - clients;
        report::figure(&format!("workers_{count}_connections"), clients / count as f64, "connections");
        // All of them find the queue filled at once.
        redis::cmd("RENAME").arg("stock").arg("celery").query_async::<()>(&mut connection).await?;
        let before = crew.processor()?;
        Look::new(&server, &database, &queues).await?.watch(messages, messages).await?.report("workers", count);
        let spent = crew.processor()?.saturating_sub(before).as_secs_f64() * 1e6 / messages as f64;
        report::figure(&format!("workers_{count}_worker"), spent, "µs");
        crew.stop()?;
        server.clear(&database).await?;
        app.close().await?;
    }
    Ok(())
}
