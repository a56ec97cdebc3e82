//! `deadline`: publishing ends within its deadline, whatever the server does.

use std::time::{Duration, Instant};

use apium::prelude::*;

use crate::faults::kit::celery;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::tasks::sleep_then_record;
use crate::rabbitmq::site::{Queues, Site};
use crate::rabbitmq::size::Size;

/// How much later than its deadline a call may end on a busy machine.
const MARGIN: Duration = Duration::from_millis(500);

/// How long to wait for a caller.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server fails.
#[derive(Debug, Clone, Copy)]
enum Broken {
    /// Nobody listens.
    Refused,
    /// It accepts everything and never answers.
    Silent,
    /// Its disk is full: it keeps the connection and takes no message.
    Blocked,
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Blocked => "disk full",
        }
    }

    fn set(self, site: &Site, broken: bool) {
        match self {
            Self::Refused => {
                site.proxy.refuse(broken);
                site.proxy.cut();
            }
            Self::Silent => site.proxy.black_hole(broken),
            Self::Blocked => {
                let limit = if broken { "1000000GB" } else { "1MB" };
                tokio::task::block_in_place(|| Site::node().ctl(&["set_disk_free_limit", limit]));
            }
        }
    }
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let (mut apium, mut celery) = (Vec::new(), Vec::new());
    for broken in [Broken::Refused, Broken::Silent, Broken::Blocked] {
        for connected in [false, true] {
            apium.push(ends(size.deadline, broken, connected).await?);
        }
        if size.celery {
            celery.push(celery_publishes(broken).await?);
        }
    }
    let apium = apium.into_iter().reduce(Outcome::and).ok_or("publish: no case was run")?;
    let celery = celery.into_iter().reduce(Outcome::and);
    Ok(Row { guarantee: "deadline", what: "publishing ends within a deadline", apium, celery })
}

/// Celery's `apply_async` with its default settings. What it says is published must be in the queue.
async fn celery_publishes(broken: Broken) -> Result<Outcome, BoxError> {
    let site = Site::new(Queues::Classic)?;
    broken.set(&site, true);
    let output = celery::caller("publish", &site.plain_url(), "", PATIENCE);
    broken.set(&site, false);
    let Some(output) = output? else {
        let text = format!("{}: still blocked after {} s", broken.name(), PATIENCE.as_secs());
        return Ok(Outcome::new(false, text));
    };
    let mut text = format!("{}: {output}", broken.name());
    let mut kept = celery::published_in_time(&output);
    if output.ends_with("published") {
        // The node takes in what it has read before.
        tokio::time::sleep(Duration::from_secs(5)).await;
        kept &= site.messages("celery")? == 1;
        text += if kept { ", and in the queue" } else { ", and not in the queue afterwards" };
    }
    Ok(Outcome::new(kept, text))
}

async fn ends(deadline: Duration, broken: Broken, connected: bool) -> Result<Outcome, BoxError> {
    let site = Site::new(Queues::Classic)?;
    let app = site.builder().setting("broker_publish_timeout", deadline).build().await?;
    if connected {
        sleep_then_record::delay(0, 0).send(&app).await?;
    }
    broken.set(&site, true);
    let began = Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, sleep_then_record::delay(1, 0).send(&app)).await;
    let took = began.elapsed();
    broken.set(&site, false);
    let refused = matches!(outcome, Ok(Err(_)));
    let when = if connected { "later" } else { "from the start" };
    let how = if refused { "an error" } else { "no error" };
    let text = format!("{} {when}: {how} after {:.1} s", broken.name(), took.as_secs_f64());
    Ok(Outcome::new(refused && took <= deadline + MARGIN, text))
}
