//! The kinds of pools (Celery: `-P`, `worker_pool`).

use std::fmt;
use std::str::FromStr;

use apium_app::error::{Error, ErrorKind};
use apium_app::task::registry::Registry;

/// How many tasks run at once where nobody says it and all of them are `async fn`. Such a task mostly waits for
/// something outside and uses no processor meanwhile, so one for each processor would leave the processors idle. Many
/// more would be too much for what all of them ask at once.
const ASYNC_SLOTS: usize = 64;

/// Where a worker runs the bodies of tasks (Celery: `-P`, `worker_pool`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PoolKind {
    /// The default: `async fn` on tokio, plain `fn` on the worker's own threads.
    #[default]
    Async,
    /// Every task on one of the worker's threads, `async fn` too. A task that blocks its thread holds up no other task.
    Threads,
    /// Every task in a child process of the worker (Celery: prefork). A task that crashes, leaks or hangs harms no
    /// other one.
    Processes,
    /// One task at a time, whatever the concurrency says. A plain `fn` runs on a thread beside the reactor, so that it
    /// does not hold up heartbeats, time limits and signals.
    Solo,
}

impl PoolKind {
    /// The names of all kinds, as `-P` takes them.
    pub const NAMES: [&'static str; 4] = ["async", "threads", "processes", "solo"];

    /// How many tasks run at once where nobody says it. A plain `fn` may compute: more of them than processors take no
    /// less time, and each that waits for a processor could run in another worker. Nothing tells from a message which
    /// kind it will be, so one plain function among the tasks decides.
    pub(crate) fn default_slots(self, registry: &Registry) -> usize {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let all_wait = self == Self::Async && registry.iter().all(|task| !task.is_blocking());
        if all_wait { processors.max(ASYNC_SLOTS) } else { processors }
    }

    /// The name, as `-P` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Solo => "solo",
        }
    }
}

impl FromStr for PoolKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "async" => Ok(Self::Async),
            "threads" => Ok(Self::Threads),
            // Celery's name, and its other one.
            "processes" | "prefork" => Ok(Self::Processes),
            "solo" => Ok(Self::Solo),
            other => Err(Error::new(
                ErrorKind::Config,
                format!("find the pool \"{other}\": there are {} (prefork is processes)", Self::NAMES.join(", ")),
            )),
        }
    }
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_refused() {
        for name in PoolKind::NAMES {
            assert_eq!(name.parse::<PoolKind>().unwrap().as_str(), name);
        }
        assert_eq!("prefork".parse::<PoolKind>().unwrap(), PoolKind::Processes);
        let text = "gevent".parse::<PoolKind>().unwrap_err().to_string();
        assert!(text.contains("gevent") && text.contains("async, threads, processes, solo"), "{text}");
    }
}
