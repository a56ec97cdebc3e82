//! `deadline`: publishing ends within its deadline, whatever the broker does.

use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::proxy::Proxy;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery;
use crate::faults::kit::row::{Outcome, Row};
use crate::faults::kit::size::Size;
use crate::faults::kit::tasks::{Setup, sleep_then_record};

/// How much later than its deadline a call may end on a busy machine.
const MARGIN: Duration = Duration::from_millis(500);

/// How long to wait for a caller.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a broker fails.
#[derive(Debug, Clone, Copy)]
enum Broken {
    /// Nobody listens.
    Refused,
    /// It accepts everything and never answers.
    Silent,
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }

    fn set(self, proxy: &Proxy) {
        match self {
            Self::Refused => proxy.refuse(true),
            Self::Silent => proxy.black_hole(true),
        }
    }
}

/// Runs the test.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut outcomes = Vec::new();
    for broken in [Broken::Refused, Broken::Silent] {
        for connected in [false, true] {
            outcomes.push(apium(size.deadline, broken, connected).await?);
        }
    }
    let apium = outcomes.into_iter().reduce(Outcome::and).ok_or("publish: no case was run")?;
    let celery = match size.celery {
        true => Some(celery_publishes(Broken::Refused)?.and(celery_publishes(Broken::Silent)?)),
        false => None,
    };
    Ok(Row { guarantee: "deadline", what: "publishing ends within a deadline", apium, celery })
}

async fn apium(deadline: Duration, broken: Broken, connected: bool) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let setup = Setup::new(format!("redis://127.0.0.1:{}/0", proxy.port()));
    let app = setup.builder().setting("broker_publish_timeout", deadline).build().await?;
    if connected {
        sleep_then_record::delay(0, 0).send(&app).await?;
    }
    broken.set(&proxy);
    if matches!(broken, Broken::Refused) {
        proxy.cut();
    }
    let began = Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, sleep_then_record::delay(1, 0).send(&app)).await;
    let took = began.elapsed();
    let refused = matches!(outcome, Ok(Err(_)));
    let when = if connected { "later" } else { "from the start" };
    let text = format!("{} {when}: an error after {:.1} s", broken.name(), took.as_secs_f64());
    Ok(Outcome::new(refused && took <= deadline + MARGIN, text))
}

fn celery_publishes(broken: Broken) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    broken.set(&proxy);
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let output = celery::caller("publish", &url, "", PATIENCE)?;
    let kept = output.as_deref().is_some_and(celery::published_in_time);
    let text = output.unwrap_or_else(|| format!("still blocked after {} s", PATIENCE.as_secs()));
    Ok(Outcome::new(kept, format!("{}: {text}", broken.name())))
}
