//! Message properties.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::json::Json;

/// Message properties. What belongs to one transport's envelope (delivery tag, delivery info, body encoding) is not here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// MIME type of the serializer.
    pub content_type: Option<Cow<'static, str>>,
    /// `utf-8` or `binary`.
    pub content_encoding: Option<Cow<'static, str>>,
    /// Equals the task id when Celery sends it.
    pub correlation_id: Option<Arc<str>>,
    /// Where an RPC reply goes.
    pub reply_to: Option<Arc<str>>,
    /// 2 persistent, 1 transient.
    pub delivery_mode: Option<u8>,
    /// The priority.
    pub priority: Option<u8>,
    /// Milliseconds as a decimal text, when the message expires.
    pub expiration: Option<String>,
    /// Whatever else was given (`message_id`, `app_id`, `type`, …).
    pub extra: BTreeMap<String, Json>,
}
