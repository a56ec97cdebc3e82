//! A dead letter as a JSON document. It holds the envelope byte for byte, so nothing of the message is lost.

use apium_protocol::message::envelope::Envelope;
use apium_protocol::message::task_id::TaskId;
use apium_transport::broker::dead_set::{DeadLetter, DeadReason};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::keys::broker_keys::QueueList;

/// A dead letter as it is stored. The field names are those of the JSON document.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredDeadLetter {
    code: String,
    reason: String,
    at: Timestamp,
    pub(crate) queue: String,
    /// The list that it came from.
    pub(crate) list: String,
    pub(crate) tag: String,
    /// The envelope, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<Box<RawValue>>,
    /// The envelope's bytes, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Vec<u8>>,
}

impl StoredDeadLetter {
    pub(crate) fn new(queue_list: &QueueList, tag: &str, raw: &[u8], reason: &DeadReason, at: Timestamp) -> Self {
        let text = std::str::from_utf8(raw).ok();
        let envelope = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        // Serde drops blanks around the JSON, so an envelope with blanks is stored as bytes.
        let envelope = envelope.filter(|envelope| envelope.get().len() == raw.len());
        Self {
            code: reason.code.to_owned(),
            reason: reason.text.clone(),
            at,
            queue: queue_list.queue.to_string(),
            list: queue_list.key.clone(),
            tag: tag.to_owned(),
            raw: envelope.is_none().then(|| raw.to_vec()),
            envelope,
        }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::new(ErrorKind::Other, "write a message of the dead set").with_source(error))
    }

    pub(crate) fn from_json(key: u64, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("read message {key} of the dead set")).with_source(error)
        })
    }

    /// The message's bytes.
    pub(crate) fn bytes(&self) -> Bytes {
        match (&self.envelope, &self.raw) {
            (Some(envelope), _) => Bytes::copy_from_slice(envelope.get().as_bytes()),
            (None, Some(raw)) => Bytes::copy_from_slice(raw),
            (None, None) => Bytes::new(),
        }
    }

    /// The dead letter as the seam shows it.
    pub(crate) fn into_dead_letter(self, key: u64) -> DeadLetter {
        let bytes = self.bytes();
        let message = Envelope::decode(&bytes).ok().map(|envelope| envelope.message);
        let headers = message.as_ref().map(|message| &message.headers);
        let task_id = message.as_ref().and_then(|message| {
            let id = message.headers.id.as_ref().map(TaskId::as_str);
            id.or(message.properties.correlation_id.as_deref()).map(str::to_owned)
        });
        let mut dead_letter = DeadLetter::new(key, self.code, self.reason, self.at, self.queue);
        dead_letter.task_id = task_id;
        dead_letter.task = headers.and_then(|headers| headers.task.as_ref()).map(|task| task.to_string());
        dead_letter.raw = message.is_none().then_some(bytes);
        dead_letter.message = message;
        dead_letter
    }
}
