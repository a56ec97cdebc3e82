//! Killing workers in every way and at every place, and what each kill explains.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::redis_server::RedisServer;
use apium_redis::crash_points::POINTS;

use crate::child::Role;
use crate::faults::crew::Crew;
use crate::faults::look::Look;
use crate::faults::run_log::{Ran, now};
use crate::faults::tasks::AROUND;

/// How many workers run at a time.
const WORKERS: usize = 3;

/// A run and its end lie at most this far apart: tasks take milliseconds, and ends are written at once. In microseconds.
const NEAR: i64 = 2_000_000;

/// A time in which runs may be repeated.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    /// Whose; all of them where nobody is named.
    pid: Option<u64>,
    from: i64,
    to: i64,
}

/// What was done to workers.
#[derive(Debug, Default)]
pub struct Kills {
    /// At random instants.
    pub random: usize,
    /// While they stopped by themselves.
    pub closing: usize,
    /// After they had been stopped from running for longer than their lease.
    pub frozen: usize,
    /// At places of the code.
    pub at: BTreeMap<&'static str, usize>,
    /// Disturbances that killed nobody: a worker stopped and let go on, the server stopped, connections killed.
    pub disturbed: usize,
    troubles: Vec<Trouble>,
}

impl Kills {
    /// All of them.
    pub fn total(&self) -> usize {
        self.random + self.closing + self.frozen + self.at.values().sum::<usize>()
    }

    /// The places at which nobody died.
    pub fn missed(&self) -> Vec<&'static str> {
        places().filter(|place| !self.at.contains_key(place)).collect()
    }

    /// How many of the runs of one task are beyond the first, and explained by no trouble.
    pub fn unexplained(&self, runs: &[Ran]) -> usize {
        let explains = |trouble: &Trouble, ran: &Ran| {
            trouble.pid.is_none_or(|pid| pid == ran.pid) && trouble.from - NEAR <= ran.at && ran.at <= trouble.to + NEAR
        };
        let plain = runs.iter().filter(|ran| !self.troubles.iter().any(|trouble| explains(trouble, ran))).count();
        plain.saturating_sub(1)
    }

    /// Runs of one task, each with the trouble of its worker that is nearest.
    pub fn describe(&self, runs: &[Ran]) -> String {
        let first = runs.first().map_or(0, |ran| ran.at);
        let one = |ran: &Ran| {
            let far = |trouble: &Trouble| (trouble.from - ran.at).max(ran.at - trouble.to).max(0) / 1000;
            let own = self.troubles.iter().filter(|trouble| trouble.pid.is_none_or(|pid| pid == ran.pid));
            let nearest = own.map(far).min().unwrap_or(-1);
            format!("by {} at {} ms ({nearest} ms from trouble)", ran.pid, (ran.at - first) / 1000)
        };
        runs.iter().map(one).collect::<Vec<_>>().join(" and ")
    }

    /// The machine did not let a worker run, for so many milliseconds until a moment.
    pub fn stalled(&mut self, stall: &Ran) {
        let from = stall.at - i64::try_from(stall.number).unwrap_or(0) * 1000;
        self.troubles.push(Trouble { pid: None, from, to: stall.at });
    }

    fn note(&mut self, pid: Option<u32>, from: i64) {
        self.troubles.push(Trouble { pid: pid.map(u64::from), from, to: now() });
    }
}

fn places() -> impl Iterator<Item = &'static str> + Clone {
    POINTS.iter().chain(AROUND).copied()
}

/// A worker, where it is to die, and when it did: its turn may come seconds later.
struct Victim {
    role: Role,
    armed: Option<&'static str>,
    end: Arc<OnceLock<i64>>,
}

impl Victim {
    fn new(role: Role, armed: Option<&'static str>) -> Self {
        let end = role.end(now);
        Self { role, armed, end }
    }
}

/// Kills `count` workers of `crew` one after the other, each replaced; those that live in the end.
pub async fn kill(crew: &Crew, server: &RedisServer, count: usize, kills: &mut Kills) -> Result<Vec<Role>, BoxError> {
    let mut look = Look::at(&crew.setup.url)?;
    let mut rotation = places().cycle();
    let mut victims = Vec::new();
    for _ in 0..WORKERS {
        victims.push(Victim::new(crew.start()?, None));
    }
    for number in 0..count {
        if fastrand::u8(..100) < 12 {
            let other = &victims[(number + 1) % WORKERS].role;
            disturb(other, server, &mut look, kills).await?;
        }
        let victim = &mut victims[number % WORKERS];
        end(victim, kills).await?;
        let armed = (fastrand::u8(..10) < 7).then(|| rotation.next()).flatten();
        // What goes on beside the messages happens less often.
        let rare = armed.is_some_and(|place| {
            ["bury", "close", "before-put", "after-put"].iter().any(|name| place.starts_with(name))
        });
        let times = if rare { 1 } else { fastrand::u32(1..12) };
        *victim = Victim::new(crew.start_armed(armed.unwrap_or_default(), times)?, armed);
    }
    // Those that are armed would die in the end.
    let mut left = Vec::new();
    for victim in victims {
        let mut role = victim.role;
        if victim.armed.is_some() {
            let pid = role.pid();
            role.kill()?;
            kills.note(Some(pid), victim.end.get().copied().unwrap_or_else(now));
            role = crew.start()?;
        }
        left.push(role);
    }
    Ok(left)
}

async fn end(victim: &mut Victim, kills: &mut Kills) -> Result<(), BoxError> {
    let pid = victim.role.pid();
    let mut from = None;
    let at_place = match victim.armed {
        Some(place) => comes_to(&mut victim.role, place).await?.then_some(place),
        None => None,
    };
    match (at_place, fastrand::u8(..10)) {
        (Some(place), _) => *kills.at.entry(place).or_default() += 1,
        (None, 0) => {
            from = Some(now());
            victim.role.signal("STOP")?;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1_200..2_500))).await;
            kills.frozen += 1;
        }
        (None, 1) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..200))).await;
            victim.role.hang_up();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            kills.closing += 1;
        }
        (None, _) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..250))).await;
            kills.random += 1;
        }
    }
    victim.role.kill()?;
    kills.note(Some(pid), from.or_else(|| victim.end.get().copied()).unwrap_or_else(now));
    Ok(())
}

/// Waits until a worker dies of itself; false when it does not.
async fn comes_to(role: &mut Role, place: &str) -> Result<bool, BoxError> {
    // Places on the way out: it is told to stop.
    let closes = place.starts_with("close") || place.ends_with("return-handoffs");
    let patience = if place.starts_with("reclaim") { 3_000 } else { 1_000 };
    for step in 0..patience / 10 {
        if role.has_ended()? {
            return Ok(true);
        }
        if step == 20 && closes {
            role.hang_up();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}

/// What workers must survive: being stopped for longer than their lease, a server that hangs, connections that are cut.
async fn disturb(other: &Role, server: &RedisServer, look: &mut Look, kills: &mut Kills) -> Result<(), BoxError> {
    let from = now();
    kills.disturbed += 1;
    match fastrand::u8(..4) {
        0 => {
            // An armed one may have died meanwhile.
            let stopped = other.signal("STOP").is_ok();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1_200..2_500))).await;
            if stopped {
                other.signal("CONT")?;
            }
            kills.note(Some(other.pid()), from);
        }
        1 => {
            server.pause();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(200..2_000))).await;
            server.resume();
            kills.note(None, from);
        }
        _ => {
            look.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
            kills.note(None, from);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_explained_by_a_death_that_is_near_only() {
        let kills =
            Kills { troubles: vec![Trouble { pid: Some(1), from: 10_000_000, to: 10_000_000 }], ..Kills::default() };
        let ran = |pid, at| Ran { number: 1, pid, at };
        assert_eq!(kills.unexplained(&[ran(1, 9_000_000), ran(2, 12_000_000)]), 0);
        assert_eq!(kills.unexplained(&[ran(1, 1_000_000), ran(2, 12_000_000)]), 1);
        assert_eq!(kills.unexplained(&[ran(3, 9_000_000), ran(2, 9_000_000)]), 1);
        assert_eq!(kills.unexplained(&[ran(3, 9_000_000)]), 0);
    }
}
