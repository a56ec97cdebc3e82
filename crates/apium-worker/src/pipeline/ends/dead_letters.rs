//! Messages that were acked before their run, as dead letters.

use apium_app::context::request::Request;
use apium_protocol::error::{Error, ErrorKind, with_causes};
use apium_protocol::message::message::Message;
use apium_transport::broker::dead_set::{DeadReason, NewDeadLetter};

use crate::pipeline::settle::Settler;
use crate::pipeline::task_run::TaskRun;
use crate::pool::guard::guarded;

impl Settler {
    /// The message of an early-ack run as a dead letter, encoded from its request.
    pub(crate) fn dead_letter(&self, task_run: &TaskRun, reason: DeadReason) -> Option<NewDeadLetter> {
        let Request { headers, properties, body, delivery_info, .. } = &*task_run.request;
        if let Some(raw) = task_run.request.raw_body() {
            let message = Message::new(properties.clone(), headers.clone(), raw.clone());
            return Some(NewDeadLetter::new(delivery_info.queue.clone(), message, reason));
        }
        let serializer = properties.content_type.as_deref().unwrap_or("json");
        // A serializer of the app's own may panic.
        let encoded = guarded(|| self.publisher.codecs().encode_body(body, serializer, headers.compression.as_deref()));
        let encoded = encoded.unwrap_or_else(|panicked| {
            Err(Error::new(ErrorKind::Encode, "encode its arguments: the serializer panicked").with_source(panicked))
        });
        let message = encoded.map(|encoded| encoded.into_message(headers.clone(), properties.clone()));
        if let Err(error) = &message {
            let task = &*task_run.task.name;
            tracing::error!(task, error = %with_causes(&error), "could not make a dead letter of a call whose arguments do not fit task {task}");
        }
        Some(NewDeadLetter::new(delivery_info.queue.clone(), message.ok()?, reason))
    }
}
