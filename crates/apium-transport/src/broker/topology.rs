//! Declarations of queues and their exchanges.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;

use crate::broker::topic::topic_matches;
use crate::error::{Error, ErrorKind, Result};

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
    /// Further arguments of the declaration (AMQP; Celery's `queue_arguments`).
    pub arguments: BTreeMap<String, Json>,
    /// The arguments of the binding (AMQP): for a headers exchange which headers a message must have, and with
    /// `x-match` whether `all` of them, the default, or `any`.
    pub binding_arguments: BTreeMap<String, Json>,
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
            binding_arguments: BTreeMap::new(),
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

    /// Of this type on RabbitMQ (`x-queue-type`). As with Celery, a classic queue is declared without a type, so that
    /// the default of its vhost holds.
    #[must_use]
    pub fn queue_type(mut self, kind: QueueType) -> Self {
        match kind {
            QueueType::Classic => self.arguments.remove(QUEUE_TYPE),
            // A name is JSON.
            QueueType::Quorum => Json::from_serialize(kind.name())
                .ok()
                .and_then(|name| self.arguments.insert(QUEUE_TYPE.to_owned(), name)),
        };
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

/// The argument that names the type of a queue.
const QUEUE_TYPE: &str = "x-queue-type";

/// How RabbitMQ keeps a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// On one node.
    Classic,
    /// On several nodes, which agree on it.
    Quorum,
}

impl QueueType {
    /// Its name: `classic` or `quorum`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Classic, Self::Quorum].into_iter().find(|kind| kind.name() == name)
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
    /// To the queues bound by headers that the message has ([`Queue::binding_arguments`]). Only where a broker
    /// [has them](crate::broker::broker::BrokerCapabilities::headers_exchanges).
    Headers,
}

impl ExchangeType {
    /// Its name: `direct`, `topic`, `fanout` or `headers`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
        }
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Direct, Self::Topic, Self::Fanout, Self::Headers].into_iter().find(|kind| kind.name() == name)
    }

    /// Whether what is bound by `binding` gets a message with this routing key. No key decides that for a headers
    /// exchange.
    pub fn routes(self, binding: &str, routing_key: &str) -> bool {
        match self {
            Self::Direct => binding == routing_key,
            Self::Topic => topic_matches(binding, routing_key),
            Self::Fanout => true,
            Self::Headers => false,
        }
    }
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

    /// Checks that routing keys say where messages go, for a broker without headers exchanges.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] names the first queue on a headers exchange.
    pub fn check_routes_by_key(&self) -> Result<()> {
        match self.queues.iter().find(|queue| queue.exchange_type == ExchangeType::Headers) {
            None => Ok(()),
            Some(queue) => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "declare the queue {:?}: this broker has no headers exchanges, RabbitMQ has; bind it to a direct, \
                     topic or fanout exchange",
                    queue.name
                ),
            )),
        }
    }
}
