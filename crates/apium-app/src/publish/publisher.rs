//! The publisher, which makes the messages of calls, retries and follow-ups, and sends those of calls to the broker. It
//! knows settings, codecs and routes, but no app and no task.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::message::body::Body;
use apium_protocol::message::message::Message;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::Topology;
use apium_transport::clock::Clock;
use apium_transport::error::Result as TransportResult;
use tracing::Instrument as _;

use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::app_observer::AppObservers;
use crate::observe::event_sender::EventSender;
use crate::options::call_options::CallOptions;
use crate::options::task_options::TaskOptions;
use crate::publish::layer::{PublishNext, SharedPublishLayer};
use crate::publish::policy::PublishPolicy;
use crate::publish::reports::Reports;
use crate::publish::router::Router;
use crate::publish::unsent::Unsent;

/// How many messages are published at once, at most.
pub(crate) const MAX_BATCH: usize = 2_000;

/// What calls of a task take from the task itself.
#[derive(Debug, Clone)]
pub(crate) struct SendDefaults {
    /// The registered name.
    pub(crate) name: Arc<str>,
    /// The options of the task that a call has too.
    pub(crate) options: CallOptions,
    /// Whether its results are ignored, by its own option or else by the settings.
    pub(crate) ignore_result: bool,
}

impl SendDefaults {
    /// What calls take from a task with these options. `ignore_result` is what the settings say.
    pub(crate) fn of(name: Arc<str>, options: &TaskOptions, ignore_result: bool) -> Self {
        Self {
            name,
            options: CallOptions::of_task(options),
            ignore_result: options.ignore_result.unwrap_or(ignore_result),
        }
    }

    /// The options that say to which queue a message goes and with which priority.
    pub(crate) fn routing_options(&self) -> CallOptions {
        CallOptions { queue: self.options.queue.clone(), priority: self.options.priority, ..CallOptions::default() }
    }
}

/// What a publisher is made of.
pub(crate) struct PublisherParts {
    /// The settings.
    pub(crate) config: Arc<Config>,
    /// Serializers and compressions.
    pub(crate) codecs: Codecs,
    /// The clock.
    pub(crate) clock: Clock,
    /// The broker.
    pub(crate) broker: SharedBroker,
    /// The routes.
    pub(crate) router: Router,
    /// Layers of publishing, the outermost first.
    pub(crate) layers: Vec<SharedPublishLayer>,
    pub(crate) observers: AppObservers,
    /// What calls take from their task, by the name and the aliases of the task.
    pub(crate) defaults: HashMap<Arc<str>, SendDefaults>,
    /// Where the result backend wants results for this process; where it does not matter, an id is made.
    pub(crate) reply_to: Option<Arc<str>>,
}

/// Publishes messages. Cheap to clone; all clones are the same publisher.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    parts: PublisherParts,
    reports: Reports,
    origin: Arc<str>,
    reply_to: Arc<str>,
    zone: jiff::tz::TimeZone,
    declared: RwLock<HashSet<(Arc<str>, Arc<str>)>>,
    owner: OnceLock<Weak<dyn Any + Send + Sync>>,
}

impl Publisher {
    /// A publisher.
    pub(crate) fn new(mut parts: PublisherParts) -> Self {
        let host = gethostname::gethostname();
        let origin: Arc<str> = format!("gen{}@{}", std::process::id(), host.to_string_lossy()).into();
        let events = EventSender::new(parts.broker.clone(), &parts.config, parts.codecs.clone(), origin.clone());
        let reply_to = parts.reply_to.take().unwrap_or_else(|| uuid::Uuid::new_v4().to_string().into());
        Self(Arc::new(Inner {
            reports: Reports { events, observers: parts.observers.clone(), counter: OnceLock::new() },
            zone: parts.config.zone(),
            parts,
            origin,
            reply_to,
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

    /// What calls of a task take from the task; `None` for one that is not registered here.
    pub(crate) fn defaults(&self, task: &str) -> Option<&SendDefaults> {
        self.0.parts.defaults.get(task)
    }

    /// The header `origin` of its messages: `gen<pid>@<host>`.
    pub fn origin(&self) -> &Arc<str> {
        &self.0.origin
    }

    /// The property `reply_to` of its messages: an id for each app and process, or where its result backend listens.
    pub fn reply_to(&self) -> &Arc<str> {
        &self.0.reply_to
    }

    /// Who is told what it publishes.
    pub(crate) fn reports(&self) -> &Reports {
        &self.0.reports
    }

    /// The time zone in which it writes times (`timezone`).
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.0.zone
    }

    /// Layers of publishing, the outermost first.
    pub(crate) fn layers(&self) -> &[SharedPublishLayer] {
        &self.0.parts.layers
    }

    /// Whether they are the same publisher.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sets the app that owns it, so that a call inside a task finds its app. Only the first call has an effect.
    pub(crate) fn set_owner(&self, owner: Weak<dyn Any + Send + Sync>) {
        // A second owner is ignored, as documented.
        let _ = self.0.owner.set(owner);
    }

    /// The app that owns it, if there still is one.
    pub(crate) fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.owner.get().and_then(Weak::upgrade)
    }

    /// Encodes `body` into `message`, and sets content type, content encoding and compression. What is `None` is taken
    /// from the settings; an empty compression is none.
    pub(crate) fn encode(
        &self,
        body: &Body,
        serializer: Option<&str>,
        compression: Option<&str>,
        message: &mut Message,
    ) -> Result<()> {
        let config = self.config();
        let serializer = serializer.unwrap_or(&config.task_serializer);
        let compression = compression.or(config.task_compression.as_deref()).filter(|name| !name.is_empty());
        let encoded = self.codecs().encode_body(body, serializer, compression)?;
        message.body = encoded.bytes;
        message.properties.content_type = Some(encoded.content_type);
        message.properties.content_encoding = Some(encoded.content_encoding);
        message.headers.compression = encoded.compression;
        Ok(())
    }

    /// Publishes a batch under the policy of the settings (`task_publish_retry`, `task_publish_retry_policy`,
    /// `broker_publish_timeout`). Declares the queues of the messages where it has not done so yet.
    ///
    /// It is not cancel-safe: whether the batch was published is not known then.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when a layer refuses a message: then nothing is published. The same when the broker
    /// cannot be reached within the time and the retries, or refuses the messages. A broker that publishes atomically
    /// has published nothing then. Another one may have published a part of the batch, and the error says so. What such
    /// a broker says it has is not sent again by a retry.
    pub async fn publish(&self, batch: Vec<Outgoing>) -> Result<()> {
        self.publish_under(batch, PublishPolicy::of(self.config())).await
    }

    /// As [`publish`](Self::publish), under another policy.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_under(&self, mut batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        self.pass_layers(&mut batch)?;
        self.publish_passed(batch, policy).await
    }

    /// Publishes messages that have passed the layers.
    pub(crate) async fn publish_passed(&self, batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len();
        let broker = self.broker().address();
        let span = self.reports().begin(&batch);
        let unsent = Unsent::new(&batch);
        let published = policy.run(broker, || self.publish_unsent(&unsent)).instrument(span).await;
        let published = published.map_err(|error| {
            let messages = if count == 1 { "the message".to_owned() } else { format!("{count} messages") };
            let may_be_partial = count > 1 && !self.broker().capabilities().atomic_publish;
            let remark = if may_be_partial { " (some of them may be published)" } else { "" };
            Error::new(ErrorKind::Publish, format!("publish {messages} to {broker}{remark}")).with_source(error)
        });
        self.report(&batch, &published).await;
        published
    }

    /// Tries once to publish what is not published yet.
    async fn publish_unsent(&self, unsent: &Unsent<'_>) -> TransportResult<()> {
        let attempt = unsent.next();
        self.publish_once(attempt.messages()).await.inspect_err(|error| unsent.failed(&attempt, error))
    }

    /// Tries once: declares the queues that are missing, and sends the batch, inside the layers.
    async fn publish_once(&self, batch: &[Outgoing]) -> TransportResult<()> {
        let missing = self.missing_targets(batch);
        if !missing.is_empty() {
            // Boxed, since it happens once for each target.
            Box::pin(self.declare(missing)).await?;
        }
        match self.layers() {
            [] => self.broker().publish_borrowed(batch).await,
            layers => PublishNext::new(layers, self.broker(), batch.to_vec()).run().await,
        }
    }

    /// The targets (exchange and routing key) to which nothing was published before.
    fn missing_targets(&self, batch: &[Outgoing]) -> Vec<(Arc<str>, Arc<str>)> {
        let mut missing = Vec::new();
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
            let target = (outgoing.exchange.clone(), outgoing.routing_key.clone());
            if !declared.contains(&target) && !missing.contains(&target) {
                missing.push(target);
            }
        }
        missing
    }

    /// Declares the queues of these targets.
    async fn declare(&self, targets: Vec<(Arc<str>, Arc<str>)>) -> TransportResult<()> {
        let mut topology = Topology::default();
        let queues = targets.iter().filter_map(|(exchange, key)| self.router().queue_for(exchange, key));
        topology.queues.extend(queues.map(|queue| queue.as_ref().clone()));
        if !topology.queues.is_empty() {
            self.broker().declare(&topology).await?;
        }
        self.0.declared.write().unwrap_or_else(PoisonError::into_inner).extend(targets);
        Ok(())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("broker", self.broker().address()).finish_non_exhaustive()
    }
}
