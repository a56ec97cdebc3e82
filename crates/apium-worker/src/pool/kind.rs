//! The choice of a pool (`-P`, `worker_pool`).

use std::fmt;
use std::str::FromStr;

use apium_app::error::{Error, ErrorKind};

/// Where a worker runs its tasks (Celery: `-P`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PoolKind {
    /// `async fn` on tokio, plain `fn` on the worker's own threads. The default.
    #[default]
    Async,
    /// Every task on a thread of its own, `async fn` too: a task that blocks holds up nobody but itself.
    Threads,
    /// One task at a time, whatever the concurrency says. Plain functions run on one thread beside the reactor, so that
    /// leases, limits and signals go on.
    Solo,
}

impl PoolKind {
    /// The names that `-P` takes.
    pub const NAMES: [&'static str; 3] = ["async", "threads", "solo"];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Threads => "threads",
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
            "solo" => Ok(Self::Solo),
            other => Err(Error::new(
                ErrorKind::Config,
                format!("use the pool \"{other}\": it is none of {}", Self::NAMES.join(", ")),
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
    fn names_are_read_back_and_others_refused() {
        for name in PoolKind::NAMES {
            assert_eq!(name.parse::<PoolKind>().unwrap().as_str(), name);
        }
        let text = "prefork".parse::<PoolKind>().unwrap_err().to_string();
        assert!(text.contains("prefork") && text.contains("async, threads, solo"), "{text}");
    }
}
