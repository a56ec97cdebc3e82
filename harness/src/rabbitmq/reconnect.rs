//! `reconnect`: a worker consumes again soon after the server answers again, and its health is red meanwhile.

use std::time::Duration;

use apium::prelude::*;
use apium::worker::{StopKind, WorkerHandle};

use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::run_log::{log_to, now};
use crate::faults::kit::tasks::sleep_then_record;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;

/// A task must have run within this time after the server answers again.
const LIMIT: Duration = Duration::from_secs(2);

/// Health must be red within this time after an outage begins.
const RED: Duration = Duration::from_secs(10);

/// How long the server is away, or frozen.
const AWAY: Duration = Duration::from_secs(3);

/// What happens to the connections of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// They are cut, and can be opened again at once.
    Reset,
    /// An operator closes them.
    Closed,
    /// They are cut, and nobody listens for a while.
    Away,
    /// The server is killed and started again.
    Restart,
}

const FAULTS: [Fault; 4] = [Fault::Reset, Fault::Closed, Fault::Away, Fault::Restart];

impl Fault {
    /// Breaks the connections and repairs them. Whether health turned red in an outage that lasts.
    async fn happen(self, site: &Site, worker: &WorkerHandle) -> bool {
        match self {
            Self::Reset => {
                site.proxy.cut();
                true
            }
            Self::Closed => {
                tokio::task::block_in_place(|| Site::node().close_connections());
                true
            }
            Self::Away => {
                site.proxy.refuse(true);
                site.proxy.cut();
                let noticed = turns(worker, false).await;
                tokio::time::sleep(AWAY).await;
                site.proxy.refuse(false);
                noticed
            }
            Self::Restart => {
                tokio::task::block_in_place(|| Site::node().kill());
                let noticed = turns(worker, false).await;
                tokio::task::block_in_place(|| Site::node().start_again());
                noticed
            }
        }
    }
}

/// Whether health turns green, or red, within [`RED`].
async fn turns(worker: &WorkerHandle, green: bool) -> bool {
    let turned = async {
        while worker.health().is_green() != green {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(RED, turned).await.is_ok()
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let site = Site::new(Queues::Classic)?;
    log_to(site.log.path())?;
    let app = site.builder().build().await?;
    let worker = app.worker().concurrency(4).start().await?;
    let (mut worst, mut too_late, mut unseen) = (Duration::ZERO, Vec::new(), 0);
    let first = run_one(&site, 0, LIMIT * 10).await?;
    for (round, fault) in FAULTS.iter().cycle().take(size.rounds).enumerate() {
        let noticed = fault.happen(&site, &worker).await;
        match run_one(&site, (round as u64 + 1) * 10, LIMIT * 10).await? {
            Some(took) => {
                worst = worst.max(took);
                if took > LIMIT {
                    too_late.push(format!("{fault:?} {:.1} s", took.as_secs_f64()));
                }
            }
            None => too_late.push(format!("{fault:?} never")),
        }
        unseen += usize::from(!noticed || !turns(&worker, true).await);
    }
    worker.stop_as(StopKind::Now).await;
    app.close().await?;
    let mut text = format!(
        "{} rounds of reset, connections closed by an operator, {} s away, server killed: slowest {:.1} s",
        size.rounds,
        AWAY.as_secs(),
        worst.as_secs_f64()
    );
    if !too_late.is_empty() {
        text += &format!("; too late: {}", too_late.join(", "));
    }
    text += &match unseen {
        0 => "; health was red meanwhile, and green again".to_owned(),
        unseen => format!("; in {unseen} rounds health did not show it"),
    };
    let apium = Outcome::new(first.is_some() && too_late.is_empty() && unseen == 0, text);
    let what = "a worker consumes again within 2 s of the server's first answer";
    Ok(Row { guarantee: "reconnect", what, apium, celery: None })
}

/// Publishes past the proxy; how long it took until the task had run.
async fn run_one(site: &Site, number: u64, patience: Duration) -> Result<Option<Duration>, BoxError> {
    let app = site.app().await?;
    // The connection of this caller is no part of what is measured.
    app.broker().queues().ok_or("look at the queue: the broker has no queues")?.depth("celery").await?;
    let back = now();
    sleep_then_record::delay(number, 0).send(&app).await?;
    site.log.wait(patience, |runs| runs.iter().any(|ran| ran.number == number)).await?;
    app.close().await?;
    let ran = site.log.runs_of(number)?.first().map(|ran| ran.at - back);
    Ok(ran.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}
