//! P5: publishing ends within its deadline, whatever the broker does.

use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::proxy::Proxy;
use apium_peers::redis_server::RedisServer;

use crate::faults::celery;
use crate::faults::row::{Outcome, Row};
use crate::faults::size::Size;
use crate::faults::tasks::{Setup, mark};

/// How much longer than its deadline a call may take on a busy machine.
const MARGIN: Duration = Duration::from_millis(500);

/// How long Celery's caller is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a broker fails.
#[derive(Debug, Clone, Copy)]
enum Broken {
    /// Nobody listens.
    Refused,
    /// It takes everything and never answers.
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

/// The check.
pub async fn check(size: &Size) -> Result<Row, BoxError> {
    let mut outcomes = Vec::new();
    for broken in [Broken::Refused, Broken::Silent] {
        for connected in [false, true] {
            outcomes.push(apium(size.deadline, broken, connected).await?);
        }
    }
    let apium = outcomes.into_iter().reduce(Outcome::and).ok_or("publish: nothing was tried")?;
    let celery = match size.celery {
        true => Some(celery_publishes(Broken::Refused)?.and(celery_publishes(Broken::Silent)?)),
        false => None,
    };
    Ok(Row { promise: "P5", what: "publishing has a deadline", apium, celery })
}

async fn apium(deadline: Duration, broken: Broken, connected: bool) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let setup = Setup::new(format!("redis://127.0.0.1:{}/0", proxy.port()));
    let app = setup.builder().setting("broker_publish_timeout", deadline).build().await?;
    if connected {
        mark::delay(0, 0).send(&app).await?;
    }
    broken.set(&proxy);
    if matches!(broken, Broken::Refused) {
        proxy.cut();
    }
    let began = Instant::now();
    let limit = tokio::time::timeout(PATIENCE, mark::delay(1, 0).send(&app)).await;
    let took = began.elapsed();
    let refused = matches!(limit, Ok(Err(_)));
    let when = if connected { "later" } else { "from the start" };
    let text = format!("{} {when}: an error after {:.1} s", broken.name(), took.as_secs_f64());
    Ok(Outcome::new(refused && took <= deadline + MARGIN, text))
}

fn celery_publishes(broken: Broken) -> Result<Outcome, BoxError> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    broken.set(&proxy);
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let said = celery::caller("publish", &url, "", PATIENCE)?;
    let seconds = |said: &String| said.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    let kept = said.as_ref().and_then(seconds).is_some_and(|took| took <= 5.5);
    let text = said.unwrap_or_else(|| format!("still blocked after {} s", PATIENCE.as_secs()));
    Ok(Outcome::new(kept, format!("{}: {text}", broken.name())))
}
