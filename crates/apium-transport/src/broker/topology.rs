//! Declarations of queues and their exchanges.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;

/// A queue with the exchange it is bound to. By default, as in Celery, the exchange is direct, and exchange and routing
/// key have the name of the queue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// The exchange's name.
    pub exchange: String,
    /// The exchange's type.
    pub exchange_type: ExchangeType,
    /// The routing key; for a topic exchange a pattern.
    pub routing_key: String,
    /// The largest priority: larger ones count as this one (AMQP: `x-max-priority`). `None` is no limit.
    pub max_priority: Option<u8>,
    /// Whether the queue survives a restart of the broker.
    pub durable: bool,
    /// Further arguments of the declaration (AMQP).
    pub arguments: BTreeMap<String, Json>,
}

impl Queue {
    /// A durable queue on a direct exchange. Queue, exchange and routing key are named `name`.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            exchange: name.clone(),
            routing_key: name.clone(),
            name,
            exchange_type: ExchangeType::Direct,
            max_priority: None,
            durable: true,
            arguments: BTreeMap::new(),
        }
    }

    /// On another exchange.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>, kind: ExchangeType) -> Self {
        self.exchange = name.into();
        self.exchange_type = kind;
        self
    }

    /// With another routing key.
    #[must_use]
    pub fn routing_key(mut self, key: impl Into<String>) -> Self {
        self.routing_key = key.into();
        self
    }

    /// With priorities from 0 to `max`.
    #[must_use]
    pub fn max_priority(mut self, max: u8) -> Self {
        self.max_priority = Some(max);
        self
    }
}

impl From<&str> for Queue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeType {
    /// To the queues bound by the same routing key.
    Direct,
    /// To the queues whose pattern matches the routing key: `*` is one word, `#` any number of words.
    Topic,
    /// To every bound queue.
    Fanout,
}

/// What a broker is to declare.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Topology {
    /// The queues.
    pub queues: Vec<Queue>,
}

impl Topology {
    /// These queues, with their exchanges and bindings.
    pub fn new(queues: Vec<Queue>) -> Self {
        Self { queues }
    }
}
