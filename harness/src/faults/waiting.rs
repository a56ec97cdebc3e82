//! P17: `get` never hangs because a notification was lost, and many who wait share one connection.

use std::time::Duration;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::crew::Crew;
use crate::faults::look::Look;
use crate::faults::row::{Outcome, Row};
use crate::faults::run_log::RunLog;
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, mark};
use crate::place::Place;

/// Within this time of the task's end `get` must return.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the task lasts during which the notification is lost.
const TASK: Duration = Duration::from_secs(2);

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = waits(size.waiters).await?;
    let celery = if size.celery { Some(celery_waits().await?) } else { None };
    Ok(Row { promise: "P17", what: "get() never hangs on a lost notification", apium, celery })
}

async fn waits(waiters: u64) -> Result<Outcome, BoxError> {
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let setup = Setup::new(server.url(0));
    let crew = Crew::new(setup.clone(), log.path());
    let _worker = crew.start()?;
    let app = setup.app().await?;
    let mut look = Look::at(&setup.url)?;

    // Its subscription is killed again and again until the task is over.
    let called = mark::delay(10, u64::try_from(TASK.as_millis())?).send(&app).await?;
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

    // The server is restarted while many wait for tasks that are still to be called.
    let ids: Vec<String> = (0..waiters).map(|number| format!("waits-{number}")).collect();
    let all = futures_util::future::join_all(
        ids.iter().map(|id| app.result::<u64>(id.clone()).get().timeout(LIMIT * 3).into_future()),
    );
    let disturb = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut look = Look::at(&setup.url)?;
        let clients: String = look.ask(&["CLIENT", "LIST", "TYPE", "pubsub"])?;
        let channels: Vec<String> = look.ask(&["PUBSUB", "CHANNELS", "celery-task-meta-waits-*"])?;
        // The worker and this app's own consumers listen for etas.
        let subscribers = clients.lines().filter(|line| subscribed(line) > 10).count();
        server.restart();
        let calls = (0..waiters).map(|number| mark::s(number * 10, 0).task_id(format!("waits-{number}")));
        Batch::of(calls).send_all(&app).await?;
        Ok::<_, BoxError>((subscribers, channels.len() as u64))
    };
    let (all, disturbed) = tokio::join!(all, disturb);
    let (connections, channels) = disturbed?;
    let answered = all.iter().filter(|got| got.is_ok()).count() as u64;
    app.close().await?;
    let text = format!(
        "subscription killed until the result was stored: {}; {waiters} wait on {connections} connection, the server restarts: \
         {answered} answered",
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
    let place = Place::new()?;
    let log = RunLog::open(&place.folder().join("runs"))?;
    let url = server.url(0);
    let _worker = celery::worker(&url, log.path(), "{}").args(["-P", "solo", "-n", "one@here"]).start();
    let said = celery::caller("get", &url, &url, Duration::from_secs(40))?;
    let kept = said.as_ref().is_some_and(|said| said.contains("got 1"));
    Ok(Outcome::new(
        kept,
        format!("subscription killed until the result was stored: {}", said.unwrap_or_else(|| "hangs".to_owned())),
    ))
}
