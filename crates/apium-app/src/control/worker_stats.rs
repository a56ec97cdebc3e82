//! What a worker says of itself (Celery: `stats`).

use std::collections::BTreeMap;
use std::time::Duration;

use apium_protocol::error::Result;
use apium_protocol::json::text::Json;

use crate::control::fields::Fields;

/// The statistics of a worker. Workers of other versions and languages leave some out: then it is `None` or empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// How many tasks of each name it has accepted since it started.
    pub total: BTreeMap<String, u64>,
    /// Its process.
    pub pid: Option<u64>,
    /// Its logical clock.
    pub clock: Option<u64>,
    /// How long ago it started.
    pub uptime: Option<Duration>,
    /// How many messages it fetches ahead; 0 is without limit.
    pub prefetch_count: Option<u64>,
    /// Where it runs tasks.
    pub pool: PoolStats,
    /// All other fields: `broker`, `rusage`, `autoscaler`, ….
    pub others: BTreeMap<String, Json>,
}

/// The pool of a worker.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// What kind of pool it is: `celery.concurrency.prefork:TaskPool`.
    pub implementation: Option<String>,
    /// How many tasks run at once.
    pub max_concurrency: Option<u64>,
    /// Its processes or threads, where it has such.
    pub processes: Vec<Json>,
    /// All other fields: `timeouts`, `writes`, `max-tasks-per-child`, ….
    pub others: BTreeMap<String, Json>,
}

impl WorkerStats {
    /// Reads them.
    pub(crate) fn read(answer: &Json) -> Result<Self> {
        let mut fields = Fields::of("the statistics of a worker", answer)?;
        let pool = fields.take::<Json>("pool")?.map(|pool| PoolStats::read(&pool)).transpose()?;
        Ok(Self {
            total: fields.take_or_default("total")?,
            pid: fields.take_count("pid")?,
            clock: fields.take_count("clock")?,
            uptime: fields.take_count("uptime")?.map(Duration::from_secs),
            prefetch_count: fields.take_count("prefetch_count")?,
            pool: pool.unwrap_or_default(),
            others: fields.others(),
        })
    }

    /// How many tasks it has accepted since it started.
    pub fn accepted(&self) -> u64 {
        self.total.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl PoolStats {
    fn read(answer: &Json) -> Result<Self> {
        let mut fields = Fields::of("the pool of a worker", answer)?;
        Ok(Self {
            implementation: fields.take("implementation")?,
            max_concurrency: fields.take_count("max-concurrency")?,
            processes: fields.take_or_default("processes")?,
            others: fields.others(),
        })
    }
}
