//! The dead set: messages that could not be handled, kept with the reason and their bytes (P12, P4).

use std::sync::Arc;

use apium_protocol::message::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Result;

/// Why a message lies in the dead set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadReason {
    /// A short stable word: `undecodable`, `content-type`, `unknown-task`, `crash-loop`, `bad-eta`, `rejected`, `follow-ups`,
    /// `arguments`.
    pub code: &'static str,
    /// The whole sentence, with names and values.
    pub text: String,
}

impl DeadReason {
    /// A reason by its stable word and its sentence.
    pub fn new(code: &'static str, text: String) -> Self {
        Self { code, text }
    }
}

/// A message in the dead set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its key in the dead set.
    pub key: u64,
    /// The reason's stable word.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// When it was put there.
    pub at: Timestamp,
    /// The queue it was taken from.
    pub queue: String,
    /// The task id, where it could be read.
    pub task_id: Option<String>,
    /// The task's name, where it could be read.
    pub task: Option<String>,
    /// The message, where headers and properties could be read; the body is as it came.
    pub message: Option<Message>,
    /// The bytes that are no message, otherwise.
    pub raw: Option<Bytes>,
}

impl DeadLetter {
    /// A dead letter that holds nothing yet: set `message` or `raw`.
    pub fn new(key: u64, code: String, reason: String, at: Timestamp, queue: String) -> Self {
        Self { key, code, reason, at, queue, task_id: None, task: None, message: None, raw: None }
    }
}

/// A message to keep, and why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewDeadLetter {
    /// The queue it was taken from, to which a replay returns it.
    pub queue: Arc<str>,
    /// The message.
    pub message: Message,
    /// Why.
    pub reason: DeadReason,
}

impl NewDeadLetter {
    /// A message of a queue, with its reason.
    pub fn new(queue: Arc<str>, message: Message, reason: DeadReason) -> Self {
        Self { queue, message, reason }
    }
}

/// Listing, replaying and dropping of dead messages.
pub trait DeadSet: Send + Sync {
    /// Up to `limit` letters with a key above `after`, in order of key.
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>>;

    /// One letter.
    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>>;

    /// Keeps messages that are no delivery any more: acked before their run, which then showed that nobody could have run them.
    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>>;

    /// Puts messages back on the queues they came from, with their crash count at zero; returns how many there were. Bytes that
    /// are no message are delivered as such again.
    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>>;

    /// Deletes letters; returns how many there were.
    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>>;

    /// How many letters there are.
    fn count(&self) -> BoxFuture<'_, Result<u64>>;
}
