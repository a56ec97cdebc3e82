//! Workers in processes of their own.

use std::time::Duration;

use apium::prelude::*;
use serde_json::{Value, json};

use crate::child::{Role, stdin_closed};
use crate::quantile::at;
use crate::report;
use crate::scaling::load::{app, queue_names, times};

/// Worker processes.
#[derive(Debug)]
pub struct Crew(Vec<Role>);

/// What a worker says when it stops.
#[derive(Debug, Clone, Copy)]
pub struct Farewell {
    /// How long its bodies took, in milliseconds: the median, and the 99th of a hundred.
    pub p50: f64,
    /// The 99th of a hundred.
    pub p99: f64,
}

impl Crew {
    /// Starts `count` workers of the first `queues` queues, and waits until all of them are ready. Without `slots` they
    /// have their default.
    pub fn start(count: u64, address: &str, queues: u64, slots: Option<u64>, results: bool) -> Result<Self, BoxError> {
        let (queues, slots) = (queues.to_string(), slots.map_or("default".to_owned(), |slots| slots.to_string()));
        let kind = if results { "results" } else { "none" };
        let start = |_| Role::start(&["worker", address, &queues, &slots, kind]);
        let mut roles: Vec<Role> = (0..count).map(start).collect::<Result<_, _>>()?;
        for role in &mut roles {
            let line = role.line()?;
            if line != "ready" {
                return Err(format!("start a worker: it printed {line:?}").into());
            }
        }
        Ok(Self(roles))
    }

    /// The memory of all, in megabytes.
    pub fn memory(&self) -> Result<f64, BoxError> {
        Ok(self.0.iter().map(Role::memory).sum::<Result<f64, _>>()?)
    }

    /// Processor time of all so far.
    pub fn processor(&self) -> Result<Duration, BoxError> {
        Ok(self.0.iter().map(Role::processor).sum::<Result<Duration, _>>()?)
    }

    /// Stops them. What the last one says.
    pub fn stop(self) -> Result<Farewell, BoxError> {
        let mut farewell = Farewell { p50: f64::NAN, p99: f64::NAN };
        for mut role in self.0 {
            role.close_stdin();
            let said: Value = serde_json::from_str(&role.line()?)?;
            farewell = Farewell {
                p50: said["p50"].as_f64().unwrap_or(f64::NAN),
                p99: said["p99"].as_f64().unwrap_or(f64::NAN),
            };
            if !role.join()? {
                return Err("a worker failed".into());
            }
        }
        Ok(farewell)
    }
}

/// What such a process runs.
pub async fn run(address: &str, queues: &str, slots: &str, kind: &str) -> Result<(), BoxError> {
    let app = app(address, kind == "results").await?;
    let worker = app.worker().queues(queue_names(queues.parse()?)).hostname(format!("w{}@%h", std::process::id()));
    let worker = match slots.parse() {
        Ok(slots) => worker.concurrency(slots),
        Err(_) => worker,
    };
    let handle = worker.start().await?;
    report::line("ready");
    stdin_closed().await;
    handle.stop().await;
    app.close().await?;
    let times = times();
    report::line(&json!({"p50": at(&times, 0.5), "p99": at(&times, 0.99)}).to_string());
    Ok(())
}
