//! `million-etas`: delayed messages wait in the server. They cost a worker no memory, run on time, delay no other task
//! and survive every worker; and those of an older producer, which come with their eta, are not held unacked.

use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::celery;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{LoggedRun, now};
use crate::faults::kit::tasks::sleep_then_record;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;

/// How many megabytes a worker's memory may grow.
const GROWTH: f64 = 50.0;

/// Messages that become due in a second. Each passes through several queues and 28 exchanges of delays before, which
/// costs the server milliseconds.
const RATE: u64 = 50;

/// How late the slowest one in a hundred may start, in microseconds.
const LATE: i64 = 1_000_000;

/// How many messages are published at a time.
const PART: u64 = 250;

/// How many messages an older producer sends.
const OLD: u64 = 20;

const HOUR: Duration = Duration::from_secs(3600);

/// The queues of delays.
const DELAYS: &str = "celery_delayed_";

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let site = Site::new(Queues::Classic)?;
    let crew = site.crew(8);
    let mut worker = crew.start()?;
    // A busy machine may need long for a part.
    let app = site.builder().setting("broker_publish_timeout", Duration::from_secs(60)).build().await?;
    sleep_then_record::delay(1, 0).send(&app).await?;
    site.log.wait(Duration::from_secs(20), |runs| !runs.is_empty()).await?;

    let before = worker.memory()?;
    for part in 0..size.etas.div_ceil(PART) {
        let numbers = part * PART..((part + 1) * PART).min(size.etas);
        Batch::of(numbers.map(|number| sleep_then_record::s(1_000_000 + number * 10, 0).countdown(HOUR)))
            .send_all(&app)
            .await?;
    }
    let (delayed, held) = (site.messages(DELAYS)?, site.unacked("celery")?);
    let grown = worker.memory()? - before;
    let text = format!("{delayed} delayed: a worker grew by {grown:.0} MB and holds {held} of them");
    let mut apium = Outcome::new(delayed == size.etas && grown < GROWTH && held == 0, text);
    apium = apium.and(of_an_older_producer(&site, size.etas).await?);
    apium = apium.and(on_time(&app, &site, size.due_seconds).await?);

    // A message that is delayed when every worker dies runs on a later worker.
    const LAST: u64 = 20;
    sleep_then_record::delay(LAST, 0).countdown(Duration::from_secs(2)).send(&app).await?;
    worker.kill()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _next = crew.start()?;
    let ran = site.log.wait(Duration::from_secs(20), |runs| runs.iter().any(|ran| ran.number == LAST)).await?;
    app.close().await?;
    let text = if ran { "survives the death of every worker" } else { "lost with its workers" };
    apium = apium.and(Outcome::new(ran, text));
    Ok(Row { guarantee: "million-etas", what: "one million etas", apium, celery: None })
}

/// Celery's clients let no message wait in the server that goes to a classic queue: it comes with its eta at once.
async fn of_an_older_producer(site: &Site, before: u64) -> Result<Outcome, BoxError> {
    let sent = celery::program(
        ["-c", SENDER],
        &[("BROKER_URL", &*site.vhost.url), ("RESULT_BACKEND", ""), ("FAULTS_LOG", "/dev/null"), ("COUNT", "20")],
        Duration::from_secs(60),
    )?;
    let mut parked = 0;
    let mut held = u64::MAX;
    for _ in 0..20 {
        (parked, held) = (site.messages(DELAYS)?.saturating_sub(before), site.unacked("celery")?);
        if parked == OLD && held == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let said = if sent.as_deref() == Some("sent") { String::new() } else { format!(" ({sent:?})") };
    let text = format!("of {OLD} etas that Celery sent{said} {parked} wait in the server, and {held} are held unacked");
    Ok(Outcome::new(parked == OLD && held == 0, text))
}

/// Sends as Celery's clients do.
const SENDER: &str = "import faults, os\n\
    for number in range(int(os.environ['COUNT'])):\n    \
        faults.sleep_then_record.apply_async((2_000_000 + number * 10, 0), countdown=3600)\n\
    print('sent')";

/// Messages become due in each second. They start on time, and a task without an eta does not wait for them.
async fn on_time(app: &App, site: &Site, seconds: u64) -> Result<Outcome, BoxError> {
    const FIRST: u64 = 100_000_000;
    let count = RATE * seconds;
    // Numbers that end with 3 would be retried.
    let number = |index: u64| FIRST + index * 10;
    let base = now() + 5_000_000;
    let due = |index: u64| base + i64::try_from(index * 1_000_000 / RATE).unwrap_or(0);
    for part in 0..count.div_ceil(PART) {
        let indices = part * PART..((part + 1) * PART).min(count);
        let calls = indices.map(|index| {
            let wait = u64::try_from(due(index) - now()).unwrap_or(0);
            sleep_then_record::s(number(index), 0).countdown(Duration::from_micros(wait))
        });
        Batch::of(calls).send_all(app).await?;
    }
    let plain = now();
    sleep_then_record::delay(10, 0).send(app).await?;
    let all = |runs: &[LoggedRun]| {
        runs.iter().filter(|ran| ran.number >= FIRST).count() as u64 >= count && runs.iter().any(|ran| ran.number == 10)
    };
    site.log.wait(Duration::from_secs(seconds + 25), all).await?;
    let mut lateness: Vec<i64> = Vec::new();
    let (mut early, mut without_eta) = (0, None);
    for ran in site.log.read()? {
        if ran.number >= FIRST {
            let by = ran.at - due((ran.number - FIRST) / 10);
            early += usize::from(by < -20_000);
            lateness.push(by);
        } else if ran.number == 10 {
            without_eta = Some(ran.at - plain);
        }
    }
    lateness.sort_unstable();
    let p99 = lateness.get(lateness.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(i64::MAX);
    let without_eta = without_eta.unwrap_or(i64::MAX);
    let text = format!(
        "{} of {count} ran at {RATE}/s, p99 {:.0} ms late, {early} early; a task without an eta took {:.0} ms",
        lateness.len(),
        p99 as f64 / 1e3,
        without_eta as f64 / 1e3
    );
    Ok(Outcome::new(lateness.len() as u64 == count && early == 0 && p99 < LATE && without_eta < LATE, text))
}
