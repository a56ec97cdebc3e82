//! Celery in the same troubles: its workers and callers, on `tests/interop/faults.py`.

use std::path::Path;
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::celery::{Builder, CeleryWorker};
use apium_peers::guarded::Guarded;
use apium_peers::python::Python;

/// Options with which Celery's workers look for abandoned messages each second, and not every 100 s as they do by themselves.
pub fn eager(visibility: Duration) -> String {
    let seconds = visibility.as_secs_f64();
    format!(r#"{{"visibility_timeout": {seconds}, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}}"#)
}

/// A worker that logs to `log`, with broker options as JSON.
pub fn worker(url: &str, log: &Path, options: &str) -> Builder {
    CeleryWorker::of("faults")
        .urls(url, url)
        .env("FAULTS_LOG", &log.display().to_string())
        .env("FAULTS_OPTIONS", options)
}

/// A worker that has nothing to do with our queue, and looks after abandoned messages of all.
pub fn sweeper(url: &str, log: &Path, visibility: Duration, name: &str) -> CeleryWorker {
    worker(url, log, &eager(visibility))
        .args(["-P", "solo", "-Q", "elsewhere", "-n", &format!("{name}@sweeper")])
        .start()
}

/// Runs a caller; what it printed last, or nothing when it has not ended within `limit`.
pub fn caller(what: &str, broker: &str, backend: &str, limit: Duration) -> Result<Option<String>, BoxError> {
    let env = [("BROKER_URL", broker), ("RESULT_BACKEND", backend)];
    let mut caller = Guarded::start(&Python::find().command(["faults.py", what], &env), None)?;
    let ended = caller.wait(limit);
    Ok(ended.map(|_| caller.log().text().lines().last().unwrap_or_default().to_owned()))
}
