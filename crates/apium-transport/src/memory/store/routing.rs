//! Exchanges and bindings: which queues a message is routed to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::broker::topology::{ExchangeType, Queue};
use crate::error::{Error, ErrorKind, Result};

/// The exchanges with their bindings.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    by_name: HashMap<String, Exchange>,
}

#[derive(Debug)]
struct Exchange {
    kind: ExchangeType,
    bindings: Vec<Binding>,
}

#[derive(Debug, PartialEq)]
struct Binding {
    key: String,
    queue: Arc<str>,
}

impl Exchanges {
    /// Checks that the exchange of `queue` does not exist with another type.
    pub(crate) fn check(&self, queue: &Queue) -> Result<()> {
        match self.by_name.get(&queue.exchange) {
            Some(exchange) if exchange.kind != queue.exchange_type => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "declare the queue {:?}: its exchange {:?} exists with the type {:?}, not {:?}; give it another name",
                    queue.name, queue.exchange, exchange.kind, queue.exchange_type
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Binds a queue to its exchange, which is created if missing. The default exchange needs no binding.
    pub(crate) fn bind(&mut self, queue: &Queue, name: Arc<str>) {
        if queue.exchange.is_empty() {
            return;
        }
        let exchange = self
            .by_name
            .entry(queue.exchange.clone())
            .or_insert_with(|| Exchange { kind: queue.exchange_type, bindings: Vec::new() });
        let binding = Binding { key: queue.routing_key.clone(), queue: name };
        if !exchange.bindings.contains(&binding) {
            exchange.bindings.push(binding);
        }
    }

    /// Deletes the bindings of a queue.
    pub(crate) fn unbind(&mut self, queue: &str) {
        for exchange in self.by_name.values_mut() {
            exchange.bindings.retain(|binding| &*binding.queue != queue);
        }
    }

    /// The queues of a message, each once.
    ///
    /// # Errors
    /// As [`Broker::publish`](crate::broker::broker::Broker::publish).
    pub(crate) fn route(&self, exchange: &str, key: &str) -> Result<Vec<Arc<str>>> {
        let Some(found) = self.by_name.get(exchange) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("publish to the exchange {exchange:?}: it does not exist; declare a queue on it first"),
            ));
        };
        let matches = |binding: &Binding| found.kind.routes(&binding.key, key);
        let mut queues: Vec<Arc<str>> = Vec::new();
        for binding in found.bindings.iter().filter(|binding| matches(binding)) {
            if !queues.contains(&binding.queue) {
                queues.push(binding.queue.clone());
            }
        }
        if queues.is_empty() && found.kind == ExchangeType::Direct {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "publish to the exchange {exchange:?}: no queue is bound to it with the routing key {key:?}; \
                     declare the queue first"
                ),
            ));
        }
        Ok(queues)
    }
}
