//! The rows of these tests: of the workers of a crew, and on a store without a server, which is memory or SQLite.

use std::path::Path;
use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::row::Row;
use crate::operating::crew::Crew;
use crate::operating::size::Size;
use crate::operating::{blocked_reactor, durable_revokes, idle, warm_shutdown};
use crate::torture::store::Site;

/// The guarantees that are checked, by their names in `docs/PROMISES.md`.
pub const GUARANTEES: [&str; 4] = ["durable-revokes", "warm-shutdown", "blocked-reactor", "idle-quiet"];

/// Checks a guarantee on `site`, where nothing ran before. Workers log to `log`.
pub async fn check(guarantee: &str, site: Site, log: &Path, size: &Size) -> Result<Row, BoxError> {
    let Some(guarantee) = GUARANTEES.into_iter().find(|name| *name == guarantee) else {
        return Err(format!("find the guarantee {guarantee:?}: there are {}", GUARANTEES.join(" ")).into());
    };
    of(guarantee, &Crew::new(with_lease_for(guarantee, site), None).await?, log, size).await
}

/// The site with the lease that a guarantee is checked with.
pub fn with_lease_for(guarantee: &str, site: Site) -> Site {
    // That a worker is quiet is promised for the default.
    if guarantee == "idle-quiet" { site.with_lease(Duration::from_secs(30)) } else { site }
}

/// Checks a guarantee with the workers of `crew`, which log to `log`, and closes the app of the caller.
pub async fn of(guarantee: &'static str, crew: &Crew, log: &Path, size: &Size) -> Result<Row, BoxError> {
    let (what, apium) = match guarantee {
        "durable-revokes" => (durable_revokes::WHAT, durable_revokes::check(crew, size).await?),
        "warm-shutdown" => (warm_shutdown::WHAT, warm_shutdown::check(crew, size).await?),
        "blocked-reactor" => (blocked_reactor::WHAT, blocked_reactor::check(crew, log, size).await?),
        _ => (idle::WHAT, idle::check(crew, size).await?),
    };
    crew.app.close().await?;
    Ok(Row { guarantee, what, apium, celery: None })
}
