//! The tasks of the chords. Each records its runs in a log that survives the kill.

use apium::prelude::*;

use crate::faults::kit::run_log::record_run;

/// The queue of the parts, whose workers die.
pub const PARTS: &str = "celery";

/// The queue of the last part, where it does not go to [`PARTS`].
pub const LAST: &str = "last";

/// The queue of the body. Its worker is not killed, so a second run of the body means a second message.
pub const BODIES: &str = "bodies";

/// The number of the body in the log. Parts have numbers from zero, bodies of inner chords from [`INNER`].
pub const BODY: u64 = u64::MAX;

/// The number of the first inner body in the log.
pub const INNER: u64 = 1 << 32;

/// What the part with this number returns.
pub fn answer(number: u64) -> u64 {
    number * 3 + 1
}

/// A part.
#[task(name = "canvas.part", acks_late)]
pub async fn part(number: u64) -> TaskResult<u64> {
    record_run(number)?;
    Ok(answer(number))
}

/// A part whose message is acked before it runs.
#[task(name = "canvas.early", acks_late = false)]
pub async fn early(number: u64) -> TaskResult<u64> {
    record_run(number)?;
    Ok(answer(number))
}

/// The body: returns what it received.
#[task(name = "canvas.join", acks_late)]
pub async fn join(results: Vec<u64>) -> TaskResult<Vec<u64>> {
    record_run(BODY)?;
    Ok(results)
}

/// The body of an inner chord.
#[task(name = "canvas.add", acks_late)]
pub async fn add(results: Vec<u64>, number: u64) -> TaskResult<u64> {
    record_run(INNER + number)?;
    Ok(results.iter().sum())
}

/// Runs before a chord, so that a worker opens the chord.
#[task(name = "canvas.first", acks_late)]
pub async fn first() -> TaskResult<u64> {
    Ok(0)
}
