//! Kills workers in every way and at every crash point, and knows which repeated runs a kill explains.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::redis_server::RedisServer;
use apium_redis::crash_points::POINTS;

use crate::child::Role;
use crate::faults::kit::crew::Crew;
use crate::faults::kit::look::Look;
use crate::faults::kit::run_log::{LoggedRun, now};
use crate::faults::kit::tasks::AROUND;

/// How many workers run at a time.
const WORKERS: usize = 3;

/// The longest time between a run and its acknowledgement, in microseconds: tasks take milliseconds and are
/// acknowledged at once.
const NEAR: i64 = 2_000_000;

/// Crash points that a worker reaches once, when it reclaims the messages of a dead one.
const RECLAIMING: [&str; 3] = ["reclaim-closed", "reclaim-batch", "reclaim-done"];

/// Crash points that a worker reaches once, when it is told to stop.
const CLOSING: [&str; 4] = ["before-return-handoffs", "after-return-handoffs", "close-stopped", "close-requeued"];

/// A time in which a fault may repeat runs.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// The worker; all of them when none is named.
    pid: Option<u64>,
    from: i64,
    to: i64,
}

/// The kills and other faults of one test.
#[derive(Debug, Default)]
pub struct Kills {
    /// At random instants.
    pub random: usize,
    /// While they shut down.
    pub closing: usize,
    /// After they had been frozen (SIGSTOP) for longer than their lease.
    pub frozen: usize,
    /// At crash points.
    pub at_points: BTreeMap<&'static str, usize>,
    /// Faults that killed no worker: a worker or the server was frozen for a while, or connections were killed.
    pub other_faults: usize,
    faults: Vec<Fault>,
}

impl Kills {
    /// All kills.
    pub fn total(&self) -> usize {
        self.random + self.closing + self.frozen + self.at_points.values().sum::<usize>()
    }

    /// The crash points at which no worker died.
    pub fn missed(&self) -> Vec<&'static str> {
        points().filter(|point| !self.at_points.contains_key(point)).collect()
    }

    /// How many runs of one task, beyond the first, no fault explains.
    pub fn unexplained(&self, runs: &[LoggedRun]) -> usize {
        let explains = |fault: &Fault, ran: &LoggedRun| {
            fault.pid.is_none_or(|pid| pid == ran.pid) && fault.from - NEAR <= ran.at && ran.at <= fault.to + NEAR
        };
        let plain = runs.iter().filter(|ran| !self.faults.iter().any(|fault| explains(fault, ran))).count();
        plain.saturating_sub(1)
    }

    /// Describes the runs of one task, each with the time to the nearest fault of its worker.
    pub fn describe(&self, runs: &[LoggedRun]) -> String {
        let first = runs.first().map_or(0, |ran| ran.at);
        let one = |ran: &LoggedRun| {
            let far = |fault: &Fault| (fault.from - ran.at).max(ran.at - fault.to).max(0) / 1000;
            let own = self.faults.iter().filter(|fault| fault.pid.is_none_or(|pid| pid == ran.pid));
            let nearest = own.map(far).min().unwrap_or(-1);
            format!("by {} at {} ms ({nearest} ms from a fault)", ran.pid, (ran.at - first) / 1000)
        };
        runs.iter().map(one).collect::<Vec<_>>().join(" and ")
    }

    /// Adds a time in which the machine did not run a worker: `number` milliseconds, which ended at `at`.
    pub fn add_stall(&mut self, stall: &LoggedRun) {
        let from = stall.at - i64::try_from(stall.number).unwrap_or(0) * 1000;
        self.faults.push(Fault { pid: None, from, to: stall.at });
    }

    fn add_fault(&mut self, pid: Option<u32>, from: i64) {
        self.faults.push(Fault { pid: pid.map(u64::from), from, to: now() });
    }
}

fn points() -> impl Iterator<Item = &'static str> + Clone {
    POINTS.iter().chain(AROUND).copied()
}

/// A worker, where it should die, and when it died, which may be seconds before it is waited for.
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

/// Kills `count` workers of `crew` one after the other and replaces each; the workers that run in the end.
pub async fn kill(crew: &Crew, server: &RedisServer, count: usize, kills: &mut Kills) -> Result<Vec<Role>, BoxError> {
    let mut look = Look::at(&crew.setup.url)?;
    let mut rotation = points().cycle();
    let mut victims = Vec::new();
    for _ in 0..WORKERS {
        victims.push(Victim::new(crew.start()?, None));
    }
    for number in 0..count {
        if fastrand::u8(..100) < 12 {
            let other = &victims[(number + 1) % WORKERS].role;
            cause_fault(other, server, &mut look, kills).await?;
        }
        let victim = &mut victims[number % WORKERS];
        end(victim, kills).await?;
        let armed = (fastrand::u8(..10) < 7).then(|| rotation.next()).flatten();
        let rare = armed.is_some_and(|point| RECLAIMING.contains(&point) || CLOSING.contains(&point));
        let times = if rare { 1 } else { fastrand::u32(1..12) };
        *victim = Victim::new(crew.start_armed(armed.unwrap_or_default(), times)?, armed);
    }
    // An armed worker would die later, so it is replaced.
    let mut running = Vec::new();
    for victim in victims {
        let mut role = victim.role;
        if victim.armed.is_some() {
            let pid = role.pid();
            role.kill()?;
            kills.add_fault(Some(pid), victim.end.get().copied().unwrap_or_else(now));
            role = crew.start()?;
        }
        running.push(role);
    }
    Ok(running)
}

async fn end(victim: &mut Victim, kills: &mut Kills) -> Result<(), BoxError> {
    let pid = victim.role.pid();
    let mut from = None;
    let reached = match victim.armed {
        Some(point) => reaches(&mut victim.role, point).await?.then_some(point),
        None => None,
    };
    match (reached, fastrand::u8(..10)) {
        (Some(point), _) => *kills.at_points.entry(point).or_default() += 1,
        (None, 0) => {
            from = Some(now());
            victim.role.signal("STOP")?;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1_200..2_500))).await;
            kills.frozen += 1;
        }
        (None, 1) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..200))).await;
            victim.role.close_stdin();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            kills.closing += 1;
        }
        (None, _) => {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..250))).await;
            kills.random += 1;
        }
    }
    victim.role.kill()?;
    kills.add_fault(Some(pid), from.or_else(|| victim.end.get().copied()).unwrap_or_else(now));
    Ok(())
}

/// Waits until a worker dies at `point`; false when it does not.
async fn reaches(role: &mut Role, point: &str) -> Result<bool, BoxError> {
    let patience = if RECLAIMING.contains(&point) { 3_000 } else { 1_000 };
    for step in 0..patience / 10 {
        if role.has_ended()? {
            return Ok(true);
        }
        if step == 20 && CLOSING.contains(&point) {
            role.close_stdin();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}

/// Causes a fault that workers must survive: a worker that is frozen for longer than its lease, a server that hangs, or
/// killed connections.
async fn cause_fault(other: &Role, server: &RedisServer, look: &mut Look, kills: &mut Kills) -> Result<(), BoxError> {
    let from = now();
    kills.other_faults += 1;
    match fastrand::u8(..4) {
        0 => {
            // An armed worker may have died meanwhile.
            let frozen = other.signal("STOP").is_ok();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1_200..2_500))).await;
            if frozen {
                other.signal("CONT")?;
            }
            kills.add_fault(Some(other.pid()), from);
        }
        1 => {
            server.pause();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(200..2_000))).await;
            server.resume();
            kills.add_fault(None, from);
        }
        _ => {
            look.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
            kills.add_fault(None, from);
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
            Kills { faults: vec![Fault { pid: Some(1), from: 10_000_000, to: 10_000_000 }], ..Kills::default() };
        let ran = |pid, at| LoggedRun { number: 1, pid, at };
        assert_eq!(kills.unexplained(&[ran(1, 9_000_000), ran(2, 12_000_000)]), 0);
        assert_eq!(kills.unexplained(&[ran(1, 1_000_000), ran(2, 12_000_000)]), 1);
        assert_eq!(kills.unexplained(&[ran(3, 9_000_000), ran(2, 9_000_000)]), 1);
        assert_eq!(kills.unexplained(&[ran(3, 9_000_000)]), 0);
    }

    #[test]
    fn points_that_are_treated_in_a_special_way_are_crash_points() {
        for point in RECLAIMING.iter().chain(&CLOSING) {
            assert!(POINTS.contains(point), "{point}");
        }
    }
}
