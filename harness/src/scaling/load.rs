//! The tasks that are measured, their app, and how queues are filled.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use apium::prelude::*;

/// How many calls go in one batch, at most.
const BATCH: u64 = 1_000;
/// How many bytes of arguments go in one batch, at most.
const BATCH_BYTES: u64 = 4_000_000;
/// Rounds of [`work`] in about a millisecond.
const MILLISECOND: u64 = 730_000;

static TOOK: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// Does nothing.
#[task(name = "scaling.nothing")]
pub async fn nothing(payload: String) -> TaskResult<()> {
    drop(payload);
    Ok(())
}

/// Answers its argument.
#[task(name = "scaling.echo")]
pub async fn echo(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// An `async fn` that waits for something outside, for this many milliseconds.
#[task(name = "scaling.waits")]
pub async fn waits(milliseconds: u64) -> TaskResult<()> {
    timed(async {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    })
    .await;
    Ok(())
}

/// A plain `fn` that computes for this many milliseconds, if it has a processor to itself.
#[task(name = "scaling.computes")]
pub fn computes(milliseconds: u64) -> TaskResult<u64> {
    let began = Instant::now();
    let found = work(milliseconds * MILLISECOND);
    add_time(began.elapsed());
    Ok(found)
}

fn work(rounds: u64) -> u64 {
    (0..rounds)
        .fold(1, |state: u64, round| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round).rotate_left(7))
}

async fn timed(body: impl Future<Output = ()>) {
    let began = Instant::now();
    body.await;
    add_time(began.elapsed());
}

fn add_time(took: Duration) {
    TOOK.lock().unwrap_or_else(PoisonError::into_inner).push(took.as_secs_f64() * 1e3);
}

/// How long the bodies in this process took, in milliseconds, sorted.
pub fn times() -> Vec<f64> {
    let mut times = TOOK.lock().unwrap_or_else(PoisonError::into_inner).clone();
    times.sort_by(f64::total_cmp);
    times
}

/// An app on the server at `address`, with late acknowledgement.
pub async fn app(address: &str, results: bool) -> Result<App, BoxError> {
    let builder = App::builder("scaling").broker(address).setting("task_acks_late", true);
    let builder = builder.setting("task_ignore_result", !results);
    Ok(if results { builder.backend(address) } else { builder }.build().await?)
}

/// The names of `count` queues: the default queue if it is one.
pub fn queue_names(count: u64) -> Vec<String> {
    match count {
        1 => vec!["celery".to_owned()],
        _ => (0..count).map(|number| format!("q{number}")).collect(),
    }
}

/// Sends `count` calls of [`nothing()`] with a payload of so many bytes, in turn to each of `queues`.
pub async fn fill(app: &App, queues: &[String], count: u64, bytes: u64) -> Result<(), BoxError> {
    let payload = "x".repeat(usize::try_from(bytes)?);
    let each = count / queues.len() as u64;
    for (index, queue) in (0..).zip(queues) {
        let mut left = each + u64::from(index < count % queues.len() as u64);
        while left > 0 {
            let batch = left.min(BATCH).min((BATCH_BYTES / bytes.max(1)).max(1));
            nothing::batch((0..batch).map(|_| (payload.clone(),))).queue(queue.as_str()).send_all(app).await?;
            left -= batch;
        }
    }
    Ok(())
}
