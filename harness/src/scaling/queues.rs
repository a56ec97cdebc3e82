//! 1 to 1,000 queues, all of them read by one worker.

use std::time::Duration;

use apium::prelude::BoxError;

use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, fill, queue_names};
use crate::scaling::size::Size;
use crate::scaling::span::Look;

/// How many queues there are.
pub const COUNTS: [u64; 4] = [1, 10, 100, 1_000];
/// How long the idle worker is watched.
const WATCH: Duration = Duration::from_secs(5);

/// Measures a drain of messages that are spread over so many queues, and the idle worker of these queues.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let messages = size.choose(20_000, 200_000);
    let server = Server::start().await?;
    for count in COUNTS {
        let (database, queues) = (server.fresh(), queue_names(count));
        let app = app(&database.url, false).await?;
        fill(&app, &queues, messages, 64).await?;
        app.close().await?;
        let clients = server.info("clients", "connected_clients").await?;
        let mut look = Look::new(&server, &database, &queues).await?;
        let crew = Crew::start(1, &database.url, count, Some(8), false)?;
        look.watch(messages, messages).await?.report("queues", count);
        let before = (server.commands().await?, server.processor()?);
        tokio::time::sleep(WATCH).await;
        let called = server.commands().await?.since(&before.0).total() as f64;
        let busy = server.processor()?.saturating_sub(before.1).as_secs_f64();
        report::figure(&format!("queues_{count}_idle"), called / WATCH.as_secs_f64(), "/s");
        report::figure(&format!("queues_{count}_idle_busy"), busy / WATCH.as_secs_f64() * 100.0, "%");
        // One of them looks at the queues.
        let clients = server.info("clients", "connected_clients").await? - clients - 1.0;
        report::figure(&format!("queues_{count}_connections"), clients, "connections");
        report::figure(&format!("queues_{count}_memory"), crew.memory()?, "MB");
        crew.stop()?;
        server.clear(&database).await?;
    }
    Ok(())
}
