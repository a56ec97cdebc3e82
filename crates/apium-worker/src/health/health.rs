//! A worker's health: whether it can reach its broker and its backends, and whether it fetches.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::health::Health;
use tokio::sync::watch;

/// How often a backend that cannot be reached is tried.
const AGAIN: Duration = Duration::from_secs(3);

/// What a worker's health is made of. The loop that fetches is the only one who writes to it.
pub(crate) struct WorkerHealth {
    broker: SharedBroker,
    /// The app's backend, and those of tasks that have one of their own.
    backends: Vec<SharedBackend>,
    clock: Clock,
    fetching: watch::Sender<Health>,
}

impl WorkerHealth {
    pub(crate) fn new(broker: SharedBroker, backends: Vec<SharedBackend>, clock: Clock) -> Self {
        let reason = "the worker has not started to fetch yet".to_owned();
        let fetching = watch::Sender::new(Health::Red { since: clock.now(), reason });
        Self { broker, backends, clock, fetching }
    }

    /// The loop has a consumer and fetches.
    pub(crate) fn set_fetching(&self) {
        self.fetching.send_if_modified(|now| !std::mem::replace(now, Health::Green).is_green());
    }

    /// The loop does not fetch.
    pub(crate) fn set_stopped_fetching(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.fetching.send_if_modified(|now| {
            // It may be red for another reason than at first; how long it has been is the same.
            let since = match now {
                Health::Red { since, .. } => *since,
                Health::Green => self.clock.now(),
            };
            let red = Health::Red { since, reason };
            std::mem::replace(now, red.clone()) != red
        });
    }

    /// Whether the loop fetches, as far as it knows.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetching.borrow().is_green()
    }

    /// The health of the whole: the first that is red, from the outside in.
    pub(crate) fn health(&self) -> Health {
        let address = self.broker.address();
        let broker = self.broker.health().of(&format!("the broker {address}"));
        let backends = self.backends.iter().map(|backend| {
            let address = backend.address();
            backend.health().of(&format!("the result backend {address}"))
        });
        let own = self.fetching.borrow().clone();
        std::iter::once(broker).chain(backends).chain([own]).find(|health| !health.is_green()).unwrap_or(Health::Green)
    }

    /// Tries backends that cannot be reached, for ever: a worker without tasks would not, and stay red. (A broker is tried by whoever
    /// consumes from it.)
    pub(crate) async fn retry_backends(&self) {
        loop {
            self.clock.sleep(AGAIN).await;
            for backend in self.backends.iter().filter(|backend| !backend.health().is_green()) {
                // One that only delivers results connects again by itself, as a broker does.
                let Some(stored) = backend.stored() else { continue };
                if let Err(error) = stored.fetch(&[TaskId::random()]).await {
                    tracing::debug!(%error, backend = %backend.address(), "the result backend cannot be reached yet");
                }
            }
        }
    }

    /// Wakes who looks when the loop begins to fetch or ceases to. What broker and backends know is not told: look at times.
    pub(crate) fn changes(&self) -> watch::Receiver<Health> {
        self.fetching.subscribe()
    }
}
