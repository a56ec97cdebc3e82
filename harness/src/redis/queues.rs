//! Workers of many queues: their connections, and how soon a message wakes one of them when many are idle.

use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::run_log::now;
use crate::quantile::at;
use crate::redis::kit::server::Server;
use crate::report;
use crate::speed::load::{self, stamp};
use crate::speed::worker::{queue, start_of_queues};

/// The queues of each worker. On Redis each of them has four lists, one for each step of priority.
const QUEUES: usize = 10;

/// The priorities of the four lists.
const PRIORITIES: [u8; 4] = [0, 3, 6, 9];

/// How many workers are idle at the same time.
const IDLE: [usize; 3] = [1, 10, 100];

/// How long workers have to become idle.
const SETTLE: Duration = Duration::from_secs(5);

/// How long idle workers are watched.
const WATCH: Duration = Duration::from_secs(10);

/// Measures a worker of ten queues, and then more of them, each time with so many messages.
pub async fn measure(messages: usize) -> Result<(), BoxError> {
    for count in IDLE {
        idle_workers(count, messages).await?;
    }
    Ok(())
}

async fn idle_workers(count: usize, messages: usize) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let database = server.fresh();
    let before = server.connections().await?;
    let start = |_| start_of_queues(&database.url, QUEUES);
    let workers = (0..count).map(start).collect::<Result<Vec<_>, _>>()?;
    tokio::time::sleep(SETTLE).await;
    let held = (server.connections().await? - before) as f64 / count as f64;
    report::figure(&format!("queues_connections_{count}"), held, "connections");
    let commands = server.commands().await?;
    tokio::time::sleep(WATCH).await;
    let idle = server.commands().await?.since(&commands).total() as f64 / WATCH.as_secs_f64();
    report::figure(&format!("queues_idle_commands_{count}"), idle / count as f64, "/s");

    let before = server.connections().await?;
    let app = load::app(&database.url, true).await?;
    let (commands, began) = (server.commands().await?, tokio::time::Instant::now());
    let mut woken = Vec::with_capacity(messages);
    for number in 0..messages {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = now();
        let priority = PRIORITIES[number % PRIORITIES.len()];
        let call = stamp::delay().queue(queue(number % QUEUES)).priority(priority);
        let ran = call.send(&app).await?.get().timeout(Duration::from_secs(30)).await?;
        woken.push((ran - sent) as f64 / 1e3);
    }
    let called = server.commands().await?.since(&commands);
    called.explain(&format!("queues_{count}"), messages as u64);
    let of_messages = called.total() as f64 - idle * began.elapsed().as_secs_f64();
    report::figure(&format!("queues_commands_{count}"), of_messages / messages as f64, "commands");
    report::figure(&format!("queues_caller_{count}"), (server.connections().await? - before) as f64, "connections");
    woken.sort_by(f64::total_cmp);
    report::figure(&format!("queues_woken_{count}"), at(&woken, 0.5), "ms");
    report::figure(&format!("queues_woken_p99_{count}"), at(&woken, 0.99), "ms");
    app.close().await?;
    for worker in workers {
        if !worker.stop()? {
            return Err("a worker failed".into());
        }
    }
    Ok(())
}
