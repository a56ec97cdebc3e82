//! Kills workers in every way and at every crash point, while the server is killed and connections are cut.

use std::collections::BTreeMap;
use std::time::Duration;

use apium::prelude::BoxError;
use apium_amqp::crash_points::POINTS;

use crate::child::Role;
use crate::faults::kit::tasks::AROUND;
use crate::rabbitmq::site::{Crew, Site};

/// How many workers run at a time.
const WORKERS: usize = 3;

/// Crash points that a worker reaches once, when it is told to stop.
const CLOSING: [&str; 2] = ["close-marks", "close-requeued"];

/// How many of each there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Amounts {
    /// Kills of workers.
    pub kills: usize,
    /// Kills of the server.
    pub restarts: usize,
    /// Cuts of all connections.
    pub cuts: usize,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Kills {
    /// Workers that were killed at random instants.
    pub random: usize,
    /// While they shut down.
    pub closing: usize,
    /// After they had been frozen (SIGSTOP).
    pub frozen: usize,
    /// At crash points.
    pub at_points: BTreeMap<&'static str, usize>,
    /// Kills of the server.
    pub restarts: usize,
    /// Cuts of all connections, by the proxy or by the server.
    pub cuts: usize,
}

impl Kills {
    /// All kills of workers.
    pub fn total(&self) -> usize {
        self.random + self.closing + self.frozen + self.at_points.values().sum::<usize>()
    }

    /// The crash points at which no worker died.
    pub fn missed(&self) -> Vec<&'static str> {
        points().filter(|point| !self.at_points.contains_key(point)).collect()
    }
}

fn points() -> impl Iterator<Item = &'static str> + Clone {
    POINTS.iter().chain(AROUND).copied()
}

/// A worker, and where it should die.
struct Victim {
    role: Role,
    armed: Option<&'static str>,
}

/// Kills workers of `crew` one after the other and replaces each; the workers that run in the end.
pub async fn kill(crew: &Crew, site: &Site, amounts: Amounts, kills: &mut Kills) -> Result<Vec<Role>, BoxError> {
    let mut rotation = points().cycle();
    let mut victims = Vec::new();
    for _ in 0..WORKERS {
        victims.push(Victim { role: crew.start()?, armed: None });
    }
    // So that a worker is there that can be killed.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..amounts.kills {
        let due = |count: usize| (number + 1) * count / amounts.kills > number * count / amounts.kills;
        if due(amounts.restarts) {
            tokio::task::block_in_place(|| Site::node().restart());
            kills.restarts += 1;
        }
        if due(amounts.cuts) {
            site.proxy.cut();
            kills.cuts += 1;
        }
        let victim = &mut victims[number % WORKERS];
        end(victim, kills).await?;
        let armed = (fastrand::u8(..10) < 7).then(|| rotation.next()).flatten();
        let times = if armed.is_some_and(|point| CLOSING.contains(&point)) { 1 } else { fastrand::u32(1..8) };
        *victim = Victim { role: crew.start_armed(armed.unwrap_or_default(), times)?, armed };
    }
    // An armed worker would die later, so it is replaced.
    let mut running = Vec::new();
    for Victim { mut role, armed } in victims {
        if armed.is_some() {
            role.kill()?;
            role = crew.start()?;
        }
        running.push(role);
    }
    Ok(running)
}

async fn end(victim: &mut Victim, kills: &mut Kills) -> Result<(), BoxError> {
    let reached = match victim.armed {
        Some(point) => reaches(&mut victim.role, point).await?.then_some(point),
        None => None,
    };
    match (reached, fastrand::u8(..10)) {
        (Some(point), _) => *kills.at_points.entry(point).or_default() += 1,
        (None, 0) => {
            victim.role.signal("STOP")?;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(200..1_500))).await;
            kills.frozen += 1;
        }
        (None, 1) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
            victim.role.close_stdin();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..30))).await;
            kills.closing += 1;
        }
        (None, _) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..400))).await;
            kills.random += 1;
        }
    }
    Ok(victim.role.kill()?)
}

/// Waits until a worker dies at `point`; false when it does not.
async fn reaches(role: &mut Role, point: &str) -> Result<bool, BoxError> {
    for step in 0..200 {
        if role.has_ended()? {
            return Ok(true);
        }
        if step == 60 && CLOSING.contains(&point) {
            role.close_stdin();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_treated_in_a_special_way_are_crash_points() {
        for point in CLOSING {
            assert!(POINTS.contains(&point), "{point}");
        }
    }
}
