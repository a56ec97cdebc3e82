//! `crash-loop`: a task that keeps killing its worker goes to the dead set, and what was fetched beside it runs.

use std::time::Duration;

use apium::prelude::*;

use crate::child::Role;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::record_run;
use crate::faults::kit::tasks::record_then_sleep;
use crate::rabbitmq::site::{COUNTED, Queues, Site};
use crate::rabbitmq::size::Size;
use crate::torture::store::wait_until;

/// `worker_max_crashes`.
const MOST: u32 = 3;

/// Tasks that are fetched beside each that kills.
const INNOCENT: u64 = 20;

/// How long one worker may take until it dies, or until everything has run.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records its number and kills its own process.
#[task(name = "faults.kill_worker", acks_late)]
pub async fn kill_worker(number: u64) -> TaskResult<u64> {
    record_run(number)?;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    std::future::pending().await
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let apium = Queues::each(|queues| convicts(queues, size.killers)).await?;
    let what = "a task that keeps killing its worker goes to the dead set, and the others run";
    Ok(Row { guarantee: "crash-loop", what, apium, celery: None })
}

async fn convicts(queues: Queues, killers: u64) -> Result<Outcome, BoxError> {
    let mut site = Site::new(queues)?;
    site.max_crashes = MOST;
    let crew = site.crew(2);
    let app = site.app().await?;
    let innocents = killers * INNOCENT;
    for killer in 0..killers {
        // Killers have odd numbers, and numbers that end with 3 are of other tests.
        kill_worker::delay(killer * 10 + 1).send(&app).await?;
        let others = killer * INNOCENT..(killer + 1) * INNOCENT;
        Batch::of(others.map(|number| record_then_sleep::s(number * 10, 20))).send_all(&app).await?;
    }
    let all_ran = || -> Result<bool, BoxError> {
        let runs = site.log.by_number()?;
        Ok(runs.keys().filter(|number| *number % 10 == 0).count() as u64 == innocents)
    };
    let (mut deaths, most_deaths) = (0_u64, killers * (u64::from(MOST) + 1));
    let mut worker = crew.start()?;
    while deaths < most_deaths {
        if !dies(&mut worker, || Ok(all_ran()? && deaths >= killers)).await? {
            break;
        }
        deaths += 1;
        worker = crew.start()?;
    }
    // The last ones are convicted, and nothing dies any more.
    let dead = wait_for_dead(&site, killers).await?;
    let ends_well = !worker.has_ended()? && worker.stop()?;
    app.close().await?;
    let runs = site.log.by_number()?;
    let killed = |number: &u64| number % 10 == 1;
    let most = runs.iter().filter(|(number, _)| killed(number)).map(|(_, runs)| runs.len()).max().unwrap_or_default();
    let fewest = runs.iter().filter(|(number, _)| killed(number)).map(|(_, runs)| runs.len()).min().unwrap_or_default();
    let ran = runs.keys().filter(|number| !killed(number)).count() as u64;
    let left = site.left(&["celery"]).await?;
    let text = format!(
        "{} queues: {killers} tasks that kill their worker began {fewest} to {most} times (the limit is {MOST}), {deaths} \
         workers died, {dead} of them are in the dead set; of {innocents} other tasks {ran} ran, {left} messages are left",
        queues.name()
    );
    let exactly = |count: usize| u32::try_from(count).is_ok_and(|count| count == MOST);
    let kept = exactly(most) && exactly(fewest) && dead == killers && ran == innocents && left == 0 && ends_well;
    Ok(Outcome::new(kept, text))
}

/// Waits until a worker dies, or `over` holds while it lives; whether it died.
async fn dies(worker: &mut Role, over: impl Fn() -> Result<bool, BoxError>) -> Result<bool, BoxError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut quiet = 0;
    while tokio::time::Instant::now() < deadline {
        if worker.has_ended()? {
            return Ok(true);
        }
        // A suspect may begin a moment after the last of the others has ended.
        quiet = if over()? { quiet + 1 } else { 0 };
        if quiet > 150 {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("wait for the death of a worker: it neither died nor ran everything".into())
}

/// Waits until the dead set has so many messages; how many it has.
async fn wait_for_dead(site: &Site, count: u64) -> Result<u64, BoxError> {
    let mut dead = 0;
    wait_until(COUNTED, async || {
        dead = site.messages("apium.dead")?;
        Ok(dead == count)
    })
    .await?;
    Ok(dead)
}
