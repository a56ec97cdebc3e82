//! `waiters`: `get` returns although a notification was lost, and many waiters share one connection.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::look::Look;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::RunLog;
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};
use crate::scratch::ScratchFolder;

/// `get` must return within this time after the end of the task.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the task runs whose notification is lost.
const TASK: Duration = Duration::from_secs(2);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = waits(size.waiters).await?;
    let celery = if size.celery { Some(celery_waits().await?) } else { None };
    Ok(Row { guarantee: "waiters", what: "`get` returns although a notification was lost", apium, celery })
}

async fn waits(waiters: u64) -> Result<Outcome, BoxError> {
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let crew = Crew::new(setup.clone(), log.path());
    let _worker = crew.start()?;
    let app = setup.app().await?;
    let mut look = Look::at(&setup.url)?;

    // The subscription is killed again and again until the result is stored.
    let called = sleep_then_record::delay(10, u64::try_from(TASK.as_millis())?).send(&app).await?;
    let killer = async {
        loop {
            let _: u64 = look.ask(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if look.ask::<u64>(&["EXISTS", &format!("celery-task-meta-{}", called.id())])? == 1 {
                return Ok::<_, BoxError>(());
            }
        }
    };
    let (got, killed) = tokio::join!(called.get().timeout(TASK + LIMIT), killer);
    killed?;
    let first = got.is_ok_and(|number| number == 10);

    // The server is restarted while many wait for tasks that are called afterwards.
    let ids: Vec<String> = (0..waiters).map(|number| format!("waits-{number}")).collect();
    let all = futures_util::future::join_all(
        ids.iter().map(|id| app.result::<u64>(id.clone()).get().timeout(LIMIT * 3).into_future()),
    );
    let disturb = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut look = Look::at(&setup.url)?;
        let clients: String = look.ask(&["CLIENT", "LIST", "TYPE", "pubsub"])?;
        let channels: Vec<String> = look.ask(&["PUBSUB", "CHANNELS", "celery-task-meta-waits-*"])?;
        // Other subscriptions have few channels: those of workers for etas.
        let subscribers = clients.lines().filter(|line| subscribed(line) > 10).count();
        server.restart();
        let calls = (0..waiters).map(|number| sleep_then_record::s(number * 10, 0).task_id(format!("waits-{number}")));
        Batch::of(calls).send_all(&app).await?;
        Ok::<_, BoxError>((subscribers, channels.len() as u64))
    };
    let (all, disturbed) = tokio::join!(all, disturb);
    let (connections, channels) = disturbed?;
    let answered = all.iter().filter(|got| got.is_ok()).count() as u64;
    app.close().await?;
    let text = format!(
        "subscription killed until the result was stored: {}; {waiters} wait on {connections} connection, the server \
         restarts: {answered} answered",
        if first { "answered" } else { "hangs" }
    );
    let kept = first && answered == waiters && connections == 1 && channels == waiters;
    Ok(Outcome::new(kept, text))
}

/// To how many channels a client of the list is subscribed.
fn subscribed(line: &str) -> u64 {
    line.split(' ').find_map(|field| field.strip_prefix("sub=")?.parse().ok()).unwrap_or(0)
}

async fn celery_waits() -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let scratch = ScratchFolder::new()?;
    let log = RunLog::open(&scratch.folder().join("runs"))?;
    let url = server.url(0);
    let _worker = celery::worker(&url, log.path(), "{}").args(["-P", "solo", "-n", "one@here"]).start();
    let output = celery::caller("get", &url, &url, Duration::from_secs(40))?;
    let kept = output.as_ref().is_some_and(|output| output.contains("got 1"));
    Ok(Outcome::new(
        kept,
        format!("subscription killed until the result was stored: {}", output.unwrap_or_else(|| "hangs".to_owned())),
    ))
}
