//! `run-once`: a task whose worker loses its connection again and again while it runs, and lives, runs once.

use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::celery;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::tasks::record_then_sleep;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;

/// How often its connections are cut.
const CUTS: u32 = 4;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = Queues::each(|queues| apium_runs_once(queues, size.long)).await?;
    let celery = if size.celery { Some(celery_repeats(size.long).await?) } else { None };
    Ok(Row { guarantee: "run-once", what: "a long task runs once", apium, celery })
}

async fn apium_runs_once(queues: Queues, long: Duration) -> Result<Outcome, BoxError> {
    let site = Site::new(queues)?;
    let worker = site.crew(4).start()?;
    let ran = cut_meanwhile(&site, long).await?;
    let stopped = worker.stop()?;
    outcome(&site, long, ran && stopped).await
}

/// Celery's worker with late acks and the pool of threads.
async fn celery_repeats(long: Duration) -> Result<Outcome, BoxError> {
    let site = Site::new(Queues::Classic)?;
    // So that the queue has its type before Celery declares it.
    site.app().await?.close().await?;
    let worker = celery::worker(&site.plain_url(), site.log.path(), "{}").env("RESULT_BACKEND", "");
    let _worker = worker.args(["-P", "threads", "-c", "4", "-n", "one@here"]).start();
    let ran = cut_meanwhile(&site, long).await?;
    outcome(&site, long, ran).await
}

/// Calls a task, cuts the connections of its worker while it runs, and calls another one. Whether both began.
async fn cut_meanwhile(site: &Site, long: Duration) -> Result<bool, BoxError> {
    let app = site.app().await?;
    record_then_sleep::delay(0, u64::try_from(long.as_millis())?).send(&app).await?;
    let began = site.log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;
    for _ in 0..CUTS {
        tokio::time::sleep(long / (CUTS + 2)).await;
        site.proxy.cut();
    }
    // What would come again has come before this.
    tokio::time::sleep(long / (CUTS + 2) * 2 + Duration::from_secs(2)).await;
    record_then_sleep::delay(10, 0).send(&app).await?;
    let goes_on = site.log.wait(Duration::from_secs(20), |runs| runs.iter().any(|ran| ran.number == 10)).await?;
    app.close().await?;
    Ok(began && goes_on)
}

/// How often the task ran, and what is left in the queue.
async fn outcome(site: &Site, long: Duration, ran: bool) -> Result<Outcome, BoxError> {
    let (left, times) = (site.left(&["celery"]).await?, site.log.runs_of(0)?.len());
    let text = format!(
        "{} queues: a task of {} s, its worker's connections cut {CUTS} times: ran {times} times, {left} messages left",
        site.queues.name(),
        long.as_secs()
    );
    Ok(Outcome::new(ran && times == 1 && left == 0, text))
}
