//! What this process has declared, and so need not write again; and what it writes again when the server has lost it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_transport::broker::topology::{ExchangeType, Queue};
use tokio::time::Instant;

/// How many bindings are remembered at most. A process that publishes to more queues than that writes some again.
const MOST_BINDINGS: usize = 10_000;
/// After this time a binding is written again, in case that the server has lost it.
const WRITE_AGAIN: Duration = Duration::from_secs(60);

/// What this process has declared already.
#[derive(Debug, Default)]
pub(crate) struct Declared(Mutex<DeclaredNames>);

/// The names behind the lock of [`Declared`].
#[derive(Debug, Default)]
struct DeclaredNames {
    /// Queues whose binding for the default exchange is written (to the exchange of their own name), and when.
    bound: HashMap<Arc<str>, Instant>,
    /// The queues that were declared, by exchange, routing key and name.
    queues: HashMap<(String, String, String), Queue>,
}

impl Declared {
    fn with<T>(&self, f: impl FnOnce(&mut DeclaredNames) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers queues that were declared.
    pub(crate) fn add(&self, queues: &[Queue]) {
        self.with(|names| {
            for queue in queues {
                let key = (queue.exchange.clone(), queue.routing_key.clone(), queue.name.clone());
                names.queues.insert(key, queue.clone());
            }
        });
        self.add_bound(
            queues.iter().filter(|queue| queue.exchange == queue.name).map(|queue| queue.name.as_str().into()),
        );
    }

    /// Remembers that the bindings of these queues are written.
    pub(crate) fn add_bound(&self, queues: impl IntoIterator<Item = Arc<str>>) {
        let now = Instant::now();
        self.with(|names| {
            for queue in queues {
                if names.bound.len() >= MOST_BINDINGS && !names.bound.contains_key(&queue) {
                    names.bound.clear();
                }
                names.bound.insert(queue, now);
            }
        });
    }

    /// Those of `queues` whose binding is not written yet, each once.
    pub(crate) fn unbound<'a>(&self, queues: impl Iterator<Item = &'a str>) -> Vec<Arc<str>> {
        let mut unbound: Vec<Arc<str>> = Vec::new();
        self.with(|names| {
            for queue in queues {
                let is_bound = names.bound.get(queue).is_some_and(|written| written.elapsed() < WRITE_AGAIN);
                if !is_bound && unbound.iter().all(|other| &**other != queue) {
                    unbound.push(queue.into());
                }
            }
        });
        unbound
    }

    /// Forgets a queue, which was deleted.
    pub(crate) fn forget(&self, queue: &str) {
        self.with(|names| {
            names.bound.remove(queue);
            names.queues.retain(|_, declared| declared.name != queue);
        });
    }

    /// Takes no binding for written any more, since the server may have lost them.
    pub(crate) fn forget_bound(&self) {
        self.with(|names| names.bound.clear());
    }

    /// The queues that were declared, to be declared again: all, or those on one exchange.
    pub(crate) fn queues(&self, exchange: Option<&str>) -> Vec<Queue> {
        let fits = |queue: &&Queue| exchange.is_none_or(|exchange| queue.exchange == exchange);
        self.with(|names| names.queues.values().filter(fits).cloned().collect())
    }

    /// The queue that was declared with this exchange and routing key.
    pub(crate) fn queue_of(&self, exchange: &str, key: &str) -> Option<String> {
        let fits = |queue: &&Queue| queue.exchange == exchange && queue.routing_key == key;
        self.with(|names| names.queues.values().find(fits).map(|queue| queue.name.clone()))
    }

    /// The fanout exchange to which a queue is bound.
    pub(crate) fn fanout_of(&self, queue: &str) -> Option<String> {
        let fits = |declared: &&Queue| declared.name == queue && declared.exchange_type == ExchangeType::Fanout;
        self.with(|names| names.queues.values().find(fits).map(|queue| queue.exchange.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bindings_are_remembered_for_a_time_and_up_to_a_number() {
        let declared = Declared::default();
        let unbound = |queue: &str| declared.unbound([queue, queue].into_iter()).len();
        assert_eq!(unbound("q"), 1, "each once");
        declared.add_bound(["q".into()]);
        assert_eq!(unbound("q"), 0);
        tokio::time::advance(WRITE_AGAIN).await;
        assert_eq!(unbound("q"), 1);
        for n in 0..MOST_BINDINGS * 3 {
            declared.add_bound([n.to_string().into()]);
            assert!(declared.with(|names| names.bound.len()) <= MOST_BINDINGS);
        }
    }

    #[test]
    fn a_deleted_queue_is_not_declared_again() {
        let declared = Declared::default();
        let queue = |name: &str| {
            let mut queue = Queue::new(name);
            (queue.exchange, queue.exchange_type) = ("x".to_owned(), ExchangeType::Fanout);
            queue
        };
        declared.add(&[queue("a"), queue("b"), Queue::new("c")]);
        assert_eq!((declared.queues(None).len(), declared.queues(Some("x")).len()), (3, 2));
        assert_eq!(declared.fanout_of("a").as_deref(), Some("x"));
        assert_eq!(declared.queue_of("x", "b").as_deref(), Some("b"));
        declared.forget("a");
        assert_eq!((declared.queues(Some("x")).len(), declared.fanout_of("a")), (1, None));
    }
}
