//! `takeover`: how soon the tasks of a killed worker start on another one.

use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::now;
use crate::faults::kit::tasks::record_then_sleep;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;
use crate::torture::store::wait_until;

/// The server sees at once that the connection of a killed process is gone.
const LIMIT: Duration = Duration::from_secs(5);

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = Queues::each(|queues| takes_over(queues, size.takeovers)).await?;
    Ok(Row {
        guarantee: "takeover",
        what: "the tasks of a killed worker start elsewhere within 5 s",
        apium,
        celery: None,
    })
}

async fn takes_over(queues: Queues, times: usize) -> Result<Outcome, BoxError> {
    let site = Site::new(queues)?;
    let (crew, app) = (site.crew(8), site.app().await?);
    let mut slowest = Duration::ZERO;
    for number in (0..).step_by(10).take(times) {
        let mut first = crew.start()?;
        record_then_sleep::delay(number, 60_000).send(&app).await?;
        if !site.log.wait(Duration::from_secs(20), |runs| runs.iter().any(|ran| ran.number == number)).await? {
            return Ok(Outcome::new(false, "the task did not start at all"));
        }
        let mut second = crew.start()?;
        // It is ready when it has run something.
        record_then_sleep::delay(number + 1, 0).send(&app).await?;
        let ready = site.log.wait(Duration::from_secs(20), |runs| runs.iter().any(|ran| ran.number == number + 1));
        ready.await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = now();
        first.kill()?;
        let again = |runs: &[crate::faults::kit::run_log::LoggedRun]| {
            runs.iter().filter(|ran| ran.number == number).count() == 2
        };
        if !site.log.wait(LIMIT * 2, again).await? {
            let text = format!("{} queues: not started elsewhere", queues.name());
            return Ok(Outcome::new(false, text));
        }
        let ran = site.log.runs_of(number)?.last().map_or(0, |ran| ran.at - killed);
        slowest = slowest.max(Duration::from_micros(u64::try_from(ran).unwrap_or_default()));
        // Its message comes to nobody any more.
        second.kill()?;
        if !wait_until(LIMIT, async || Ok(site.unacked("celery")? == 0)).await? {
            return Err("kill a worker: its message did not come back".into());
        }
        app.broker().queues().ok_or("purge the queue: the broker has none")?.purge("celery").await?;
    }
    app.close().await?;
    let text = format!(
        "{} queues, {times} kills: started elsewhere after {:.1} s at most",
        queues.name(),
        slowest.as_secs_f64()
    );
    Ok(Outcome::new(slowest <= LIMIT, text))
}
