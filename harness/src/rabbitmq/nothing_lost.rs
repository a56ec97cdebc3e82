//! `nothing-lost`: whatever kills workers and the server, and cuts connections, every published task runs.

use std::collections::BTreeSet;
use std::time::Duration;

use apium::driver::{Clock, Message, Outgoing, TaskId};
use apium::prelude::*;
use tokio::sync::watch;

use crate::faults::kit::celery;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::tasks::sleep_then_record;
use crate::faults::nothing_lost::{ROUND, call, call_until, id};
use crate::rabbitmq::kills::{Amounts, Kills, kill};
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;

/// How often Celery's worker is killed. It takes seconds to start.
const CELERY_KILLS: usize = 8;

/// Tasks that are still missing in the end count as lost when nothing has run for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the names of the queues begin in which a task may wait.
const QUEUES: [&str; 2] = ["celery", "apium_delayed_"];

/// So often, while messages are in the queues. After a kill, the server waits until it moves a message on again that
/// was on its way between two queues of delays: three minutes by default, and five seconds here.
const ROUNDS: usize = 8;

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let half = |count: usize| count.div_ceil(2);
    let amounts = Amounts { kills: half(size.kills), restarts: half(size.restarts), cuts: half(size.cuts) };
    // On classic queues a worker of Celery takes its share.
    let one = |queues| survives(queues, amounts, queues == Queues::Classic, size.kills >= 200);
    let apium = Queues::each(one).await?;
    let celery = if size.celery { Some(celery_loses(CELERY_KILLS).await?) } else { None };
    Ok(Row { guarantee: "nothing-lost", what: "no published task is lost", apium, celery })
}

/// Celery's worker with late acks, killed at random. Its tasks are called by Apium, so that they are in the queue.
async fn celery_loses(kills: usize) -> Result<Outcome, BoxError> {
    let site = Site::new(Queues::Classic)?;
    let app = site.app().await?;
    let worker = || {
        let worker = celery::worker(&site.vhost.url, site.log.path(), "{}").env("RESULT_BACKEND", "");
        worker.args(["-P", "solo", "-n", "victim@here"])
    };
    let mut published = BTreeSet::new();
    for _ in 0..kills {
        let first = published.last().map_or(0, |last| last + 1);
        // Numbers that end with 3 are tasks that Apium retries.
        let numbers: Vec<u64> = (first..).filter(|number| number % 10 != 3).take(10).collect();
        let mut victim = worker().start();
        for number in &numbers {
            sleep_then_record::delay(*number, 5).send(&app).await?;
        }
        published.extend(numbers);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
        victim.kill();
    }
    let _last = worker().start();
    wait_until_done(&site, &published).await?;
    app.close().await?;
    let runs = site.log.by_number()?;
    let lost = published.iter().filter(|number| !runs.contains_key(number)).count();
    let text = format!("{kills} kills of its worker: {} published, {lost} lost", published.len());
    Ok(Outcome::new(lost == 0, text))
}

async fn survives(queues: Queues, amounts: Amounts, with_python: bool, every_point: bool) -> Result<Outcome, BoxError> {
    let mut site = Site::new(queues)?;
    site.delays = Queues::Quorum;
    let crew = site.crew(8);
    let app = site.builder().build().await?;
    // So that the queue has its type before Celery declares it.
    sleep_then_record::delay(0, 0).send(&app).await?;
    let _python = with_python.then(|| {
        let worker = celery::worker(&site.vhost.url, site.log.path(), "{}").env("RESULT_BACKEND", "");
        worker.args(["-P", "solo", "-n", "python@here"]).start()
    });
    let mut kills = Kills::default();
    let (done, over) = watch::channel(false);
    let killer = async {
        let workers = kill(&crew, &site, amounts, &mut kills).await;
        // The caller may have failed and be gone already.
        let _ = done.send(true);
        workers
    };
    let one = async |number: u64| match number % ROUND {
        9 => Ok(app.broker().publish(vec![with_eta(number)]).await?),
        _ => call(&app, number).await,
    };
    let (published, workers) = tokio::join!(call_until(&app, over, one), killer);
    let (published, workers) = (published?, workers?);
    wait_until_done(&site, &published).await?;
    for worker in workers {
        if !worker.stop()? {
            return Err("a worker that was not killed failed".into());
        }
    }
    app.close().await?;
    let runs = site.log.by_number()?;
    let lost: Vec<&u64> = published.iter().filter(|number| !runs.contains_key(number)).collect();
    let repeated: usize = runs.values().map(|runs| runs.len() - 1).sum();
    let (left, dead) = (site.left(&QUEUES).await?, site.left(&["apium.dead"]).await?);
    let missed = if every_point { kills.missed() } else { Vec::new() };
    let kept = lost.is_empty() && left == 0 && dead == 0 && missed.is_empty() && !published.is_empty();
    let mut text = format!(
        "{} queues{}: {} kills ({} at {} crash points, {} while stopping, {} of frozen ones), {} kills of the server, {} \
         cuts of all connections: {} published, {} lost, {repeated} repeated",
        queues.name(),
        if with_python { ", with a Celery worker" } else { "" },
        kills.total(),
        kills.at_points.values().sum::<usize>(),
        kills.at_points.len(),
        kills.closing,
        kills.frozen,
        kills.restarts,
        kills.cuts,
        published.len(),
        lost.len(),
    );
    if !lost.is_empty() {
        text += &format!(" ({lost:?})");
    }
    for (count, what) in [(left, "left in queues"), (dead, "in the dead set")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if !missed.is_empty() {
        text += &format!(", no worker died at {}", missed.join(" "));
    }
    Ok(Outcome::new(kept, text))
}

/// As Celery's clients send to a classic queue: it comes at once, with its eta. Its worker sends it on to the queues of
/// delays.
fn with_eta(number: u64) -> Outgoing {
    let mut message = Message::default();
    let id: TaskId = id(number).into();
    let now = Clock::system().now();
    message.headers.lang = Some("py".into());
    message.headers.task = Some(sleep_then_record::NAME.into());
    message.headers.root_id = Some(id.clone());
    message.headers.eta = Some(now.saturating_add(Duration::from_millis(300)).unwrap_or(now).to_string());
    message.properties.correlation_id = Some(id.as_str().into());
    message.headers.id = Some(id);
    message.properties.content_type = Some("application/json".into());
    message.properties.content_encoding = Some("utf-8".into());
    message.properties.delivery_mode = Some(2);
    let embed = r#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#;
    message.body = format!("[[{number}, 0], {{}}, {embed}]").into();
    Outgoing::to_queue("celery", message)
}

/// Waits until everything was executed and the queues are empty, or nothing happens any more.
///
/// The queues may hold more than what was published: a call that failed, since the server was away, may have left its
/// message there, and that one may wait between two queues of delays.
async fn wait_until_done(site: &Site, published: &BTreeSet<u64>) -> Result<(), BoxError> {
    let (mut before, mut patience, mut empty) = (0, ROUNDS, false);
    loop {
        let runs = site.log.read()?;
        let seen: BTreeSet<u64> = runs.iter().map(|ran| ran.number).collect();
        let all_ran = published.is_subset(&seen);
        let still = runs.len() == before;
        // One look is not enough: between two queues, a message may be counted in neither.
        let was_empty = std::mem::replace(&mut empty, (all_ran || still) && site.messages_of(&QUEUES)? == 0);
        if patience == 0 || (still && empty && was_empty) {
            return Ok(());
        }
        patience -= usize::from(still);
        before = runs.len();
        let pause = if all_ran { Duration::from_secs(2) } else { PATIENCE };
        site.log.wait(pause, |runs| runs.len() > before).await?;
    }
}
