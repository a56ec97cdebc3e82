//! Queues and exchanges as they are declared.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;

/// A queue with the exchange it is bound to. Celery's defaults: direct, exchange and routing key named like the queue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// The exchange's name.
    pub exchange: String,
    /// The exchange's type.
    pub exchange_type: ExchangeType,
    /// The routing key (for a topic exchange a pattern).
    pub routing_key: String,
    /// The largest priority the queue tells apart (AMQP: `x-max-priority`).
    pub max_priority: Option<u8>,
    /// Whether the queue outlives the broker's restart.
    pub durable: bool,
    /// Further arguments, as AMQP has them.
    pub arguments: BTreeMap<String, Json>,
}

impl Queue {
    /// A durable queue on a direct exchange, both and the routing key named `name`.
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
    /// Routing keys are equal.
    Direct,
    /// `*` stands for one word, `#` for any number of words.
    Topic,
    /// To every bound queue.
    Fanout,
}

/// What a broker is asked to make exist.
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
