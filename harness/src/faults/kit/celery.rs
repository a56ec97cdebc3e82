//! Celery under the same faults: its workers and callers, from `tests/interop/faults.py`.

use std::path::Path;
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::celery::{Builder, CeleryWorker};
use apium_peers::guarded::Guarded;
use apium_peers::python::Python;

/// Options with which Celery's workers look for abandoned messages each second. By default they do every 100 s.
pub fn sweep_each_second(visibility: Duration) -> String {
    let seconds = visibility.as_secs_f64();
    format!(r#"{{"visibility_timeout": {seconds}, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}}"#)
}

/// A worker whose tasks record their runs in `log`, with broker options as JSON.
pub fn worker(url: &str, log: &Path, options: &str) -> Builder {
    CeleryWorker::of("faults")
        .urls(url, url)
        .env("FAULTS_LOG", &log.display().to_string())
        .env("FAULTS_OPTIONS", options)
}

/// A worker that consumes another queue, and restores abandoned messages of all queues.
pub fn sweeper(url: &str, log: &Path, visibility: Duration, name: &str) -> CeleryWorker {
    worker(url, log, &sweep_each_second(visibility))
        .args(["-P", "solo", "-Q", "elsewhere", "-n", &format!("{name}@sweeper")])
        .start()
}

/// Runs a caller; the last line that it printed, or nothing when it has not ended within `limit`.
pub fn caller(what: &str, broker: &str, backend: &str, limit: Duration) -> Result<Option<String>, BoxError> {
    program(["faults.py", what], &[("BROKER_URL", broker), ("RESULT_BACKEND", backend)], limit)
}

/// Whether the caller that publishes ended within its deadline, by what it printed: `4.0 s: OperationalError`.
pub fn published_in_time(printed: &str) -> bool {
    printed.split(' ').next().and_then(|word| word.parse::<f64>().ok()).is_some_and(|took| took <= 5.5)
}

/// Runs a Python program; the last line that it printed, or nothing when it has not ended within `limit`.
pub fn program(args: [&str; 2], env: &[(&str, &str)], limit: Duration) -> Result<Option<String>, BoxError> {
    let mut running = Guarded::start(&Python::find().command(args, env), None)?;
    let status = running.wait(limit);
    Ok(status.map(|_| running.log().text().lines().last().unwrap_or_default().to_owned()))
}
