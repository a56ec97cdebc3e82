//! Waits for a quiet machine, because other programs would disturb the measurement.

use std::fs;
use std::time::{Duration, Instant};

/// The share of the processors that other programs may use when a run starts.
const QUIET: f64 = 0.15;

/// How long a run waits for a quiet machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the machine is measured.
const WATCH: Duration = Duration::from_secs(1);

/// Waits for a quiet machine, for a minute at most; the share of the processors that was in use then. Nothing on
/// systems that do not report it.
pub(crate) fn wait() -> Option<f64> {
    let started = Instant::now();
    loop {
        let before = read()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a program with one thread watches the machine, which has no signal for this"
        )]
        std::thread::sleep(WATCH);
        let busy = read()?.busy_since(before);
        if busy < QUIET || started.elapsed() > PATIENCE {
            return Some(busy);
        }
    }
}

/// The time of the processors, in ticks since the machine started.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    fn busy_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        1.0 - self.idle.saturating_sub(before.idle) as f64 / all as f64
    }
}

fn read() -> Option<Ticks> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// Reads the first line of `/proc/stat`: user, nice, system, idle, waiting for the disk, and more.
fn parse(text: &str) -> Option<Ticks> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    Some(Ticks { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_neither_idle_nor_waiting_is_busy() {
        let before = parse("cpu  10 0 10 70 10 0\ncpu0 1").unwrap();
        let after = parse("cpu  30 0 20 120 30 0\n").unwrap();
        assert!((after.busy_since(before) - 0.3).abs() < 1e-9, "{}", after.busy_since(before));
        assert!(parse("intr 1 2").is_none());
    }
}
