//! `stats`: counters and facts of the worker, with Celery's keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::address::Address;
use serde::Serialize;

use crate::control::autoscaler::AutoscalerStats;
use crate::control::commands::process_facts::ResourceUsage;
use crate::control::controlled::Controlled;

/// What `stats` replies.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    /// How many runs of each task began.
    total: BTreeMap<Arc<str>, u64>,
    pid: u32,
    clock: String,
    /// Seconds.
    uptime: u64,
    pool: PoolStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    autoscaler: Option<AutoscalerStats>,
    broker: BrokerStats,
    prefetch_count: usize,
    rusage: Rusage,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Rusage {
    Counted(ResourceUsage),
    Unknown(&'static str),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PoolStats {
    implementation: String,
    max_concurrency: usize,
    processes: Vec<u32>,
    max_tasks_per_child: String,
    put_guarded_by_semaphore: bool,
    /// Soft and hard, in seconds.
    timeouts: [f64; 2],
    writes: Writes,
}

/// What Celery's parent has written to its children. Here it is what the slots got.
#[derive(Debug, Serialize)]
struct Writes {
    total: u64,
    avg: String,
    all: String,
    raw: String,
    strategy: &'static str,
    inqueues: InQueues,
}

#[derive(Debug, Serialize)]
struct InQueues {
    total: usize,
    active: usize,
}

#[derive(Debug, Serialize)]
struct BrokerStats {
    hostname: String,
    userid: Option<String>,
    virtual_host: String,
    port: Option<u16>,
    insist: bool,
    ssl: bool,
    transport: String,
    connect_timeout: f64,
    transport_options: BTreeMap<String, String>,
    login_method: Option<()>,
    uri_prefix: Option<()>,
    heartbeat: f64,
    failover_strategy: &'static str,
    alternates: [(); 0],
    credential_provider: Option<()>,
}

impl Stats {
    /// The stats of a worker now.
    pub(crate) fn of(controlled: &Controlled) -> Self {
        let process = &controlled.process;
        let config = process.settler.publisher.config();
        let slots = process.runs.wanted_slots();
        let by_slot = process.runs.begun_by_slot();
        let total: u64 = by_slot.iter().sum();
        let share = |count: &u64| format!("{:.2}", *count as f64 / total.max(1) as f64);
        let list = |texts: Vec<String>| texts.join(", ");
        let seconds = |limit: Option<Duration>| limit.map_or(0.0, |limit| limit.as_secs_f64());
        let load = process.run_queue.load(0);
        let prefetch_count = match controlled.multiplier.fixed() {
            Some(multiplier) => slots.saturating_mul(multiplier as usize) + load.delayed,
            None => process.run_queue.window(),
        };
        Self {
            total: process.runs.begun(),
            pid: std::process::id(),
            clock: controlled.clock.value().to_string(),
            uptime: controlled.began.elapsed().as_secs(),
            pool: PoolStats {
                implementation: format!("apium.pool:{}", controlled.pool),
                max_concurrency: slots,
                processes: process.executor.pools.pids(),
                max_tasks_per_child: config
                    .worker_max_tasks_per_child
                    .map_or("N/A".to_owned(), |most| most.to_string()),
                put_guarded_by_semaphore: false,
                timeouts: [seconds(config.task_soft_time_limit), seconds(config.task_time_limit)],
                writes: Writes {
                    total,
                    avg: format!("{:.2}", if by_slot.is_empty() { 0.0 } else { 1.0 / by_slot.len() as f64 }),
                    all: list(by_slot.iter().map(share).collect()),
                    raw: list(by_slot.iter().map(u64::to_string).collect()),
                    strategy: "fair",
                    inqueues: InQueues { total: slots, active: process.runs.active().len() },
                },
            },
            autoscaler: controlled.autoscaler.as_ref().map(|autoscaler| autoscaler.stats()),
            broker: BrokerStats::of(controlled.records.broker().address(), config.broker_connection_timeout),
            prefetch_count,
            rusage: ResourceUsage::of_this_process().map_or(Rusage::Unknown("N/A"), Rusage::Counted),
        }
    }
}

impl BrokerStats {
    /// What may be shown of an address: no password, and nothing that may be a part of one.
    fn of(address: &Address, timeout: Duration) -> Self {
        // Printed addresses have no secrets: `redis://user:**@host:6379/0`.
        let shown = address.to_string();
        let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
        let (servers, path) = match rest.strip_prefix('/') {
            Some(_) => ("", rest),
            None => rest.split_once('/').unwrap_or((rest, "")),
        };
        let first = servers.split(';').next().unwrap_or_default();
        let (user_info, host) = first.rsplit_once('@').map_or((None, first), |(user, host)| (Some(user), host));
        let userid = user_info.and_then(|info| info.split(':').next()).filter(|user| !user.is_empty());
        let (hostname, port) = match host.rsplit_once(':') {
            Some((hostname, port)) if port.parse::<u16>().is_ok() => (hostname, port.parse().ok()),
            _ => (host, None),
        };
        Self {
            hostname: hostname.to_owned(),
            userid: userid.map(str::to_owned),
            virtual_host: path.split('?').next().unwrap_or_default().to_owned(),
            port,
            insist: false,
            ssl: matches!(address.scheme(), "rediss" | "amqps"),
            transport: address.scheme().to_owned(),
            connect_timeout: timeout.as_secs_f64(),
            transport_options: BTreeMap::new(),
            login_method: None,
            uri_prefix: None,
            heartbeat: 0.0,
            failover_strategy: "round-robin",
            alternates: [],
            credential_provider: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_in_its_parts_and_without_its_password() {
        for (text, wanted) in [
            ("redis://127.0.0.1:43559/13", ("127.0.0.1", None, "13", Some(43_559))),
            ("redis://ann:secret@h:6379/0?x=secret", ("h", Some("ann"), "0", Some(6_379))),
            ("redis://:secret@h/0", ("h", None, "0", None)),
            ("sqlite:///var/lib/app/queue.db", ("", None, "/var/lib/app/queue.db", None)),
            ("memory://", ("", None, "", None)),
        ] {
            let stats = BrokerStats::of(&Address::parse(text).unwrap(), Duration::from_secs(4));
            let shown = (&*stats.hostname, stats.userid.as_deref(), &*stats.virtual_host, stats.port);
            assert_eq!(shown, wanted, "{text}");
            assert!(!serde_json::to_string(&stats).unwrap().contains("secret"));
        }
    }
}
