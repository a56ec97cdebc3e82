//! The dead set: messages that could not be handled, kept with the reason and their bytes.

use std::sync::Arc;

use apium_protocol::message::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Result;

/// Why a message is in the dead set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadReason {
    /// A short word that stays the same in later versions: `undecodable`, `content-type`, `unknown-task`, `crash-loop`,
    /// `bad-eta`, `rejected`, `follow-ups` or `arguments`.
    pub code: &'static str,
    /// The reason in full, with names and values.
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
    /// Its key in the dead set. Later ones have larger keys.
    pub key: u64,
    /// [`DeadReason::code`].
    pub code: String,
    /// [`DeadReason::text`].
    pub reason: String,
    /// When it was put there.
    pub at: Timestamp,
    /// The queue it was delivered from.
    pub queue: String,
    /// The task id, if it could be read.
    pub task_id: Option<String>,
    /// The task's name, if it could be read.
    pub task: Option<String>,
    /// The message, if headers and properties could be read; its body is unchanged.
    pub message: Option<Message>,
    /// The bytes, if they are not a message.
    pub raw: Option<Bytes>,
}

impl DeadLetter {
    /// A dead letter that holds nothing yet: set `message` or `raw`.
    pub fn new(key: u64, code: String, reason: String, at: Timestamp, queue: String) -> Self {
        Self { key, code, reason, at, queue, task_id: None, task: None, message: None, raw: None }
    }
}

/// A message to be added to the dead set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewDeadLetter {
    /// The queue it was delivered from, to which a replay returns it.
    pub queue: Arc<str>,
    /// The message.
    pub message: Message,
    /// Why it is added.
    pub reason: DeadReason,
}

impl NewDeadLetter {
    /// A message of a queue, with its reason.
    pub fn new(queue: Arc<str>, message: Message, reason: DeadReason) -> Self {
        Self { queue, message, reason }
    }
}

/// Lists, replays and removes dead letters.
pub trait DeadSet: Send + Sync {
    /// Up to `limit` dead letters with keys above `after`, in the order of their keys.
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>>;

    /// One dead letter.
    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>>;

    /// Adds messages that are not in flight any more. A worker does it with a message that it acked early and could not
    /// run then.
    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>>;

    /// Returns messages to the queues they were delivered from, with a crash count of zero; returns how many there
    /// were. Bytes that are not a message are returned unchanged.
    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>>;

    /// Deletes dead letters; returns how many there were.
    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>>;

    /// How many dead letters there are.
    fn count(&self) -> BoxFuture<'_, Result<u64>>;
}
