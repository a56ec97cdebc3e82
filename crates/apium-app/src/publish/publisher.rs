//! The publisher: what calls, retries and follow-ups go to the broker through. It knows settings, codecs and routes,
//! but no app and no task.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::error::with_causes;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::Topology;
use apium_transport::clock::Clock;
use apium_transport::error::{Error as TransportError, ErrorKind as TransportKind};

use crate::config::retry_policy::RetryPolicy;
use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::options::task_options::TaskOptions;
use crate::publish::layer::{PublishNext, SharedPublishLayer};
use crate::publish::router::Router;

/// How many messages are published at once.
pub(crate) const MAX_BATCH: usize = 2_000;

/// What calls of one task take from the task itself.
#[derive(Debug, Clone)]
pub struct SendDefaults {
    /// The registered name.
    pub name: Arc<str>,
    /// Its attributes as options of a call.
    pub options: CallOptions,
    /// Whether its results are ignored, settings considered.
    pub ignore_result: bool,
}

impl SendDefaults {
    /// What calls take from a task with these options; `ignore_result` is what the settings say.
    pub fn of(name: Arc<str>, options: &TaskOptions, ignore_result: bool) -> Self {
        Self {
            name,
            options: CallOptions::of_task(options),
            ignore_result: options.ignore_result.unwrap_or(ignore_result),
        }
    }

    /// What of it says where a message goes, and before which others.
    pub(crate) fn routing_options(&self) -> CallOptions {
        CallOptions { queue: self.options.queue.clone(), priority: self.options.priority, ..CallOptions::default() }
    }
}

/// What a publisher is made of.
pub struct PublisherParts {
    /// The settings.
    pub config: Arc<Config>,
    /// Serializers and compressions.
    pub codecs: Codecs,
    /// The clock.
    pub clock: Clock,
    /// The broker.
    pub broker: SharedBroker,
    /// The routes.
    pub router: Router,
    /// Layers around publishing, the outermost first.
    pub layers: Vec<SharedPublishLayer>,
    /// What calls take from their task, by name and alias.
    pub defaults: HashMap<Arc<str>, SendDefaults>,
}

/// Publishes messages. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    parts: PublisherParts,
    origin: Arc<str>,
    reply_to: Arc<str>,
    zone: jiff::tz::TimeZone,
    declared: RwLock<HashSet<(Arc<str>, Arc<str>)>>,
    owner: OnceLock<Weak<dyn Any + Send + Sync>>,
}

/// How hard to try to publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishPolicy {
    /// How to try again when the broker cannot be reached; `None` is not at all.
    pub retry: Option<RetryPolicy>,
    /// How long it may take in all; with a retry policy without limit, each try.
    pub timeout: Duration,
}

impl PublishPolicy {
    /// The policy of the settings: `task_publish_retry`, `task_publish_retry_policy`, `broker_publish_timeout`.
    pub fn of(config: &Config) -> Self {
        let retry = config.task_publish_retry.then_some(config.task_publish_retry_policy);
        Self { retry, timeout: config.broker_publish_timeout }
    }
}

impl Publisher {
    /// A publisher of these parts.
    pub fn new(parts: PublisherParts) -> Self {
        let host = gethostname::gethostname();
        let origin = format!("gen{}@{}", std::process::id(), host.to_string_lossy());
        Self(Arc::new(Inner {
            zone: parts.config.zone(),
            parts,
            origin: origin.into(),
            reply_to: uuid::Uuid::new_v4().to_string().into(),
            declared: RwLock::default(),
            owner: OnceLock::new(),
        }))
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.0.parts.config
    }

    /// Serializers and compressions.
    pub fn codecs(&self) -> &Codecs {
        &self.0.parts.codecs
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// The broker.
    pub fn broker(&self) -> &SharedBroker {
        &self.0.parts.broker
    }

    /// The routes.
    pub fn router(&self) -> &Router {
        &self.0.parts.router
    }

    /// What calls of a task take from the task itself; `None` for one that is not registered here.
    pub fn defaults(&self, task: &str) -> Option<&SendDefaults> {
        self.0.parts.defaults.get(task)
    }

    /// `gen<pid>@<host>`: the header `origin` of its messages.
    pub fn origin(&self) -> &Arc<str> {
        &self.0.origin
    }

    /// The property `reply_to` of its messages: one id for each app and process.
    pub fn reply_to(&self) -> &Arc<str> {
        &self.0.reply_to
    }

    /// The zone in which it writes times.
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.0.zone
    }

    /// Notes whose publisher this is, so that a call inside a task finds its app. Only the first note counts.
    pub(crate) fn set_owner(&self, owner: Weak<dyn Any + Send + Sync>) {
        // A second note changes nothing, as documented.
        let _ = self.0.owner.set(owner);
    }

    /// Whose publisher this is, if that still lives.
    pub(crate) fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.owner.get().and_then(Weak::upgrade)
    }

    /// Publishes a batch under the policy of the settings. Makes queues that are missing.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when the broker cannot be reached before the deadline and within the retries, or refuses.
    /// A broker that publishes atomically has published nothing then; of another one's batch a part may be published,
    /// and the error says so. Cancelling it leaves open whether the batch was published.
    pub async fn publish(&self, batch: Vec<Outgoing>) -> Result<()> {
        self.publish_under(batch, PublishPolicy::of(self.config())).await
    }

    /// As [`publish`](Self::publish), under a policy of one's own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_under(&self, batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len();
        let forever = policy.retry.is_some_and(|retry| retry.max_retries.is_none());
        let tries = self.tries(batch, policy, forever.then_some(policy.timeout));
        let outcome = if forever { tries.await } else { within(policy.timeout, tries).await };
        outcome.map_err(|error| {
            let messages = if count == 1 { "the message".to_owned() } else { format!("{count} messages") };
            let in_part = count > 1 && !self.broker().capabilities().atomic_publish;
            let in_part = if in_part { " (some of them may be published)" } else { "" };
            Error::new(ErrorKind::Publish, format!("publish {messages} to {}{in_part}", self.broker().address()))
                .with_source(error)
        })
    }

    async fn tries(&self, batch: Vec<Outgoing>, policy: PublishPolicy, each: Option<Duration>) -> Tried {
        let mut batch = batch;
        let mut retry = 0;
        loop {
            let wait = policy.retry.and_then(|policy| policy.wait_before(retry));
            let this = if wait.is_some() { batch.clone() } else { std::mem::take(&mut batch) };
            let outcome = match each {
                Some(limit) => within(limit, self.once(this)).await,
                None => self.once(this).await,
            };
            match (outcome, wait) {
                (Err(error), Some(wait)) if error.is_retryable() => {
                    tracing::warn!(error = %with_causes(&error), retry, broker = %self.broker().address(), "publishing is tried again");
                    tokio::time::sleep(wait).await;
                    retry = retry.saturating_add(1);
                }
                (outcome, _) => return outcome,
            }
        }
    }

    async fn once(&self, batch: Vec<Outgoing>) -> Tried {
        self.declare_missing(&batch).await?;
        if self.0.parts.layers.is_empty() {
            return self.broker().publish(batch).await;
        }
        PublishNext::new(&self.0.parts.layers, self.broker()).publish(batch).await
    }

    /// Declares the queues behind places that nothing was published to before.
    async fn declare_missing(&self, batch: &[Outgoing]) -> Tried {
        let mut topology = Topology::default();
        let mut places = Vec::new();
        {
            let declared = self.0.declared.read().unwrap_or_else(PoisonError::into_inner);
            let mut last: Option<&Outgoing> = None;
            for outgoing in batch {
                let same = |last: &Outgoing| {
                    Arc::ptr_eq(&last.routing_key, &outgoing.routing_key) && last.exchange == outgoing.exchange
                };
                if last.is_some_and(same) {
                    continue;
                }
                last = Some(outgoing);
                let place = (outgoing.exchange.clone(), outgoing.routing_key.clone());
                if declared.contains(&place) || places.contains(&place) {
                    continue;
                }
                if let Some(queue) = self.router().queue_for(&place.0, &place.1) {
                    topology.queues.push(queue.as_ref().clone());
                }
                places.push(place);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        if !topology.queues.is_empty() {
            self.broker().declare(&topology).await?;
        }
        self.0.declared.write().unwrap_or_else(PoisonError::into_inner).extend(places);
        Ok(())
    }
}

type Tried = std::result::Result<(), TransportError>;

async fn within(limit: Duration, work: impl Future<Output = Tried>) -> Tried {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let text = format!("get an answer of the broker within {} s", limit.as_secs_f64());
            Err(TransportError::new(TransportKind::Timeout, text))
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("broker", self.broker().address()).finish_non_exhaustive()
    }
}
