//! The tasks. All have late acknowledgement, so a task whose worker is killed runs again.

use std::collections::BTreeMap;
use std::time::Duration;

use apium::prelude::*;
use serde::{Deserialize, Serialize};

/// How often each word occurs.
pub(crate) type Words = BTreeMap<String, u64>;

/// The totals of all files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How many files were counted.
    pub(crate) files: usize,
    /// How many words they have.
    pub(crate) words: u64,
    /// How many different words.
    pub(crate) different: usize,
    /// The most frequent words, with their counts.
    pub(crate) frequent: Vec<(String, u64)>,
}

/// How many of the most frequent words the totals have.
const FREQUENT: usize = 10;
/// The largest number of pieces of a file. After each piece the progress is stored.
const PIECES: usize = 8;
/// The smallest number of lines of a piece.
const LINES: usize = 50;

/// Counts the words of a file. A file that was deleted meanwhile has none, because a failed task would fail the totals.
#[task(name = "quickstart.count_words", acks_late, track_started)]
pub(crate) async fn count_words(ctx: &Ctx, path: String, pace_ms: u64) -> TaskResult<Words> {
    let bytes = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let mut words = Words::new();
    let mut done = 0;
    for piece in lines.chunks((lines.len() / PIECES).max(LINES)) {
        for word in piece.iter().copied().flat_map(words_of) {
            *words.entry(word).or_default() += 1;
        }
        done += piece.len();
        ctx.update_state("PROGRESS", json!({ "current": done, "total": lines.len() })).await?;
        tokio::time::sleep(Duration::from_millis(pace_ms)).await;
    }
    Ok(words)
}

/// Adds up the words of all files.
#[task(name = "quickstart.add_up", acks_late, track_started)]
pub(crate) async fn add_up(files: Vec<Words>) -> TaskResult<Totals> {
    let count = files.len();
    let mut all = Words::new();
    for (word, times) in files.into_iter().flatten() {
        *all.entry(word).or_default() += times;
    }
    let (words, different) = (all.values().sum(), all.len());
    let mut frequent: Vec<(String, u64)> = all.into_iter().collect();
    // Words with equal counts stay in alphabetical order.
    frequent.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    frequent.truncate(FREQUENT);
    Ok(Totals { files: count, words, different, frequent })
}

/// The words of a line in lower case: sequences of letters and digits with at least one letter.
fn words_of(line: &str) -> impl Iterator<Item = String> {
    let words = line.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.chars().any(char::is_alphabetic)).map(str::to_lowercase)
}

/// The error of the task that is retried.
#[derive(Debug)]
pub(crate) struct ServiceBusy;

impl std::fmt::Display for ServiceBusy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the service is busy (provoked)")
    }
}

impl std::error::Error for ServiceBusy {}

/// Fails twice, and is retried automatically after one second, then two.
#[task(
    name = "quickstart.retried",
    acks_late,
    track_started,
    autoretry_for(ServiceBusy),
    retry_backoff = 1,
    retry_jitter = false,
    max_retries = 5
)]
pub(crate) async fn retried(ctx: &Ctx) -> TaskResult<String> {
    let retries = ctx.request().retries();
    if retries < 2 {
        return Err(ServiceBusy.into());
    }
    Ok(format!("succeeded in the third run, after {retries} retries"))
}

/// A task that is called with a countdown.
#[task(name = "quickstart.later", acks_late, track_started)]
pub(crate) async fn later() -> TaskResult<String> {
    Ok("ran at its eta".to_owned())
}

/// A task that is called with a countdown longer than its expiry, so it never runs.
#[task(name = "quickstart.too_late", acks_late, track_started)]
pub(crate) async fn too_late() -> TaskResult<String> {
    Ok("never returned".to_owned())
}

/// Fails always.
#[task(name = "quickstart.fails", acks_late, track_started)]
pub(crate) async fn fails() -> TaskResult<i64> {
    Ok("forty-two".parse::<i64>()?)
}
