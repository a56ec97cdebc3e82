//! What a worker says of a queue that it consumes (Celery: `QUEUE_INFO`).

use std::collections::BTreeMap;

use apium_protocol::error::Result;
use apium_protocol::json::text::Json;

use crate::control::fields::Fields;

/// A queue that a worker consumes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// The exchange that brings messages to it; empty for the default exchange.
    pub exchange: String,
    /// The type of the exchange: `direct`, `topic`, `fanout`.
    pub exchange_type: String,
    /// The routing key by which it is bound.
    pub routing_key: String,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// The largest priority of its messages.
    pub max_priority: Option<i64>,
    /// All other fields.
    pub others: BTreeMap<String, Json>,
}

impl QueueInfo {
    fn read(answer: &Json) -> Result<Self> {
        let mut fields = Fields::of("a queue of a worker", answer)?;
        let mut exchange = match fields.take::<Json>("exchange")? {
            Some(map) => Fields::of("its `exchange`", &map)?,
            None => {
                Fields::of("its `exchange`", &Json::from_value(&apium_protocol::value::value::Value::Map(Vec::new())))?
            }
        };
        Ok(Self {
            name: fields.take_or_default("name")?,
            exchange: exchange.take_or_default("name")?,
            exchange_type: exchange.take_or_default("type")?,
            routing_key: fields.take_or_default("routing_key")?,
            durable: fields.take_or_default("durable")?,
            max_priority: fields.take("max_priority")?,
            others: fields.others(),
        })
    }

    /// Reads a list of them.
    pub(crate) fn read_list(answer: &Json) -> Result<Vec<Self>> {
        answer.decode::<Vec<Json>>()?.iter().map(Self::read).collect()
    }
}
