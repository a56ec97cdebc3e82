//! Tasks in child processes of their worker: one that crashes, hangs or leaks harms no other one.
//!
//! ```text
//! cargo run --example processes -- worker                   # `crash` and `spin` run in child processes
//! cargo run --example processes -- worker -P processes      # every task does
//! cargo run --example processes -- call crash --wait
//! ```

use std::process::{ExitCode, abort, id};
use std::time::Duration;

use apium::prelude::*;

/// Kills the process that it runs in. Its worker goes on, and this run fails.
#[task(name = "crash", isolation = "process")]
fn crash() -> TaskResult<()> {
    abort()
}

/// The same with late ack: the run begins again in another child process, until it has killed three.
#[task(name = "crash_again", isolation = "process", acks_late, reject_on_worker_lost)]
async fn crash_again() -> TaskResult<()> {
    abort()
}

/// Kills the process of its first run, and is retried.
#[task(name = "crash_once", isolation = "process", retry_on_worker_lost, default_retry_delay = "0s")]
async fn crash_once(ctx: &Ctx) -> TaskResult<u32> {
    match ctx.retries() {
        0 => abort(),
        retries => Ok(retries),
    }
}

/// Computes for ever. Only a time limit ends it.
#[task(name = "spin", isolation = "process")]
fn spin() -> TaskResult<()> {
    loop {
        std::hint::spin_loop();
    }
}

/// Never gives its memory back.
#[task(name = "leak", isolation = "process")]
fn leak(megabytes: usize) -> TaskResult<u32> {
    Box::leak(vec![1_u8; megabytes << 20].into_boxed_slice());
    Ok(id())
}

/// The number of the process in which it runs.
#[task(name = "pid")]
async fn pid() -> TaskResult<u32> {
    Ok(id())
}

/// The same after a while, with late ack. It says that it has begun.
#[task(name = "slow_pid", acks_late, track_started)]
async fn slow_pid(ctx: &Ctx, seconds: f64) -> TaskResult<u32> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => Ok(id()),
        () = ctx.soft_limit().wait() => Ok(0),
    }
}

/// Reports its progress, and sends two tasks.
#[task(name = "parent")]
async fn parent(ctx: &Ctx) -> TaskResult<u32> {
    ctx.update_state("HALF", serde_json::json!({"done": 50})).await?;
    pid::delay().await?;
    pid::delay().await?;
    Ok(id())
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    Ok(App::builder("processes").config(settings).build().await?)
}

fn main() -> ExitCode {
    apium::cli::main(app)
}
