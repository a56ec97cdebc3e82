//! 1 to 10,000 calls of `get` that wait in one process.

use std::time::{Duration, Instant};

use apium::prelude::*;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::process;
use crate::quantile::at;
use crate::redis::kit::server::Server;
use crate::report;
use crate::scaling::crew::Crew;
use crate::scaling::load::{app, echo};
use crate::scaling::size::Size;

/// How many calls wait.
pub const COUNTS: [u64; 5] = [1, 10, 100, 1_000, 10_000];

/// Lets so many calls wait for tasks in a queue that nobody reads. Measures round trips of another task beside them,
/// and how soon all of them have their results when a worker comes.
pub async fn measure(size: Size) -> Result<(), BoxError> {
    let calls = size.choose(300, 3_000);
    let server = Server::start().await?;
    for count in COUNTS {
        let database = server.fresh();
        let app = app(&database.url, true).await?;
        let crew = Crew::start(1, &database.url, 1, Some(8), true)?;
        for number in 0..50 {
            echo::delay(number).send(&app).await?.get().await?;
        }
        let (clients, memory) = (server.info("clients", "connected_clients").await?, own_memory()?);
        let commands = server.commands().await?;
        let mut results = Vec::new();
        for number in 0..count {
            results.push(echo::delay(number).queue("q0").send(&app).await?);
        }
        let sent = server.commands().await?;
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { try_join_all(results.iter().map(|result| result.get().into_future())).await });
        until_subscribed(&server, count).await?;
        until_quiet(&server).await?;
        let subscribed = server.commands().await?;
        report::figure(&format!("waiters_{count}_sent"), each(sent.since(&commands).total(), count), "commands");
        let called = subscribed.since(&sent);
        // The looks at the channels are ours.
        let called = called.total() - called.of("pubsub|channels");
        report::figure(&format!("waiters_{count}_commands"), each(called, count), "commands");
        let more = server.info("clients", "connected_clients").await? - clients;
        report::figure(&format!("waiters_{count}_connections"), more, "connections");
        report::figure(&format!("waiters_{count}_memory"), (own_memory()? - memory) * 1e3 / count as f64, "kB");
        let (before, busy) = (server.commands().await?, server.processor()?);
        let mut took = Vec::new();
        for number in 0..calls {
            let began = Instant::now();
            echo::delay(number).send(&app).await?.get().await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        report::figure(&format!("waiters_{count}_p50"), at(&took, 0.5), "ms");
        report::figure(&format!("waiters_{count}_p99"), at(&took, 0.99), "ms");
        let called = server.commands().await?.since(&before).total();
        report::figure(&format!("waiters_{count}_call"), each(called, calls), "commands");
        let spent = server.processor()?.saturating_sub(busy).as_secs_f64() * 1e6 / calls as f64;
        report::figure(&format!("waiters_{count}_server"), spent, "µs");
        if waiting.try_join_next().is_some() {
            return Err("wait for tasks that nobody runs: a call returned".into());
        }
        // Two queues are `q0` and `q1`.
        let began = Instant::now();
        let others = Crew::start(1, &database.url, 2, Some(8), true)?;
        waiting.join_next().await.ok_or("wait for tasks: nobody waits")???;
        report::figure(&format!("waiters_{count}_all"), began.elapsed().as_secs_f64() * 1e3, "ms");
        others.stop()?;
        crew.stop()?;
        app.close().await?;
        server.clear(&database).await?;
    }
    Ok(())
}

fn each(calls: u64, count: u64) -> f64 {
    calls as f64 / count as f64
}

fn own_memory() -> Result<f64, BoxError> {
    Ok(process::memory(std::process::id())?)
}

/// Waits until so many channels of results are subscribed.
async fn until_subscribed(server: &Server, count: u64) -> Result<(), BoxError> {
    let until = Instant::now() + Duration::from_secs(60);
    while server.channels().await? < count {
        if Instant::now() > until {
            return Err(format!("subscribe to {count} results within a minute").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until nothing is asked of the server any more but what an idle worker asks.
async fn until_quiet(server: &Server) -> Result<(), BoxError> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let before = server.commands().await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
        if server.commands().await?.since(&before).total() < 20 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err("wait for results: the server is asked without end".into());
        }
    }
}
