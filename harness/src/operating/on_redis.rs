//! The rows of these tests on Redis, with Celery beside them.

use std::sync::Arc;

use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::celery::sweep_each_second;
use crate::faults::kit::row::Row;
use crate::faults::kit::size::Size as SizeOfFaults;
use crate::operating::celery::{self, Peer, VISIBILITY};
use crate::operating::crew::{Crew, log_file};
use crate::operating::rows;
use crate::operating::size::Size;
use crate::processes::worker::Bodies;
use crate::scratch::ScratchFolder;
use crate::torture::store::Site;

/// A server that keeps what it has when it is killed, and workers on it.
struct Place {
    scratch: ScratchFolder,
    crew: Crew,
}

impl Place {
    async fn new() -> Result<Self, BoxError> {
        let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
        let scratch = ScratchFolder::new()?;
        let site = Site::new(scratch.folder(), server.url(0));
        Ok(Self { crew: Crew::new(site, Some(Arc::new(server))).await?, scratch })
    }

    /// Celery's programs here.
    fn peer(&self) -> Peer {
        let address = self.crew.site.address.clone();
        Peer { broker: address.clone(), backend: address, options: sweep_each_second(VISIBILITY) }
    }
}

/// Checks `durable-revokes` or `warm-shutdown` with workers whose tasks run in child processes, in either language.
pub async fn check_children(guarantee: &'static str, (size, celery): (&Size, bool)) -> Result<Row, BoxError> {
    let [mut row, python] =
        [of_bodies(guarantee, Bodies::Rust, size).await?, of_bodies(guarantee, Bodies::Python, size).await?];
    row.apium = row.apium.and(python.apium);
    if celery {
        let place = Place::new().await?;
        row.celery = celery::check(guarantee, &place.crew, &place.peer(), size).await?;
    }
    Ok(row)
}

async fn of_bodies(guarantee: &'static str, bodies: Bodies, size: &Size) -> Result<Row, BoxError> {
    let Place { crew, scratch } = Place::new().await?;
    let mut row = rows::of(guarantee, &crew.with_bodies(bodies), &log_file(scratch.folder()), size).await?;
    row.apium.text = format!("{}: {}", bodies.name(), row.apium.text);
    Ok(row)
}

/// Checks `durable-revokes`, `warm-shutdown` or `blocked-reactor`.
pub async fn check(guarantee: &'static str, size: &SizeOfFaults) -> Result<Row, BoxError> {
    let place = Place::new().await?;
    let mut row = rows::of(guarantee, &place.crew, &log_file(place.scratch.folder()), &size.operating).await?;
    if size.celery {
        let place = Place::new().await?;
        row.celery = celery::check(guarantee, &place.crew, &place.peer(), &size.operating).await?;
    }
    Ok(row)
}
