//! What a broker and its consumers share: the connections, the publisher, and what is known to exist.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use apium_transport::clock::Clock;
use apium_transport::error::Result;
use apium_transport::health::Health;
use tokio::sync::Mutex;

use crate::backend::reply_queue::ReplyQueue;
use crate::connection::link::Link;
use crate::connection::live_channel::LiveChannel;
use crate::options::broker::BrokerOptions;
use crate::publish::declared::Declared;
use crate::publish::mailbox_names::MailboxNames;
use crate::publish::publisher::PublishLoop;

/// What a broker and its consumers share.
#[derive(Debug)]
pub(crate) struct BrokerShared {
    pub(crate) options: BrokerOptions,
    pub(crate) clock: Clock,
    /// The connection of the publisher. The server stops reading from it while its memory or disk is full.
    pub(crate) publishing: Arc<Link>,
    /// The connection of consumers, mailboxes and commands.
    pub(crate) consuming: Arc<Link>,
    pub(crate) publisher: PublishLoop,
    pub(crate) declared: Declared,
    pub(crate) command_channel: Mutex<Option<LiveChannel>>,
    pub(crate) mailbox_names: MailboxNames,
    /// The queue of results of this process, if it has a backend at this server.
    reply_queue: OnceLock<Arc<ReplyQueue>>,
}

impl BrokerShared {
    pub(crate) fn new(options: BrokerOptions, clock: Clock) -> Result<Self> {
        let link = |purpose: &str| {
            let name = format!("apium {purpose} (process {})", std::process::id());
            Arc::new(Link::new(options.target.clone(), name, clock.clone()))
        };
        let (publishing, consuming) = (link("publishing"), link("consuming"));
        Ok(Self {
            publisher: PublishLoop::start(publishing.clone())?,
            publishing,
            consuming,
            options,
            clock,
            declared: Declared::default(),
            command_channel: Mutex::new(None),
            mailbox_names: MailboxNames::default(),
            reply_queue: OnceLock::new(),
        })
    }

    /// Results for calls of this process come into this queue. The first one counts.
    pub(crate) fn set_reply_queue(&self, queue: Arc<ReplyQueue>) {
        let _ = self.reply_queue.set(queue);
    }

    /// The queue of results of this process.
    pub(crate) fn reply_queue(&self) -> Option<&Arc<ReplyQueue>> {
        self.reply_queue.get()
    }

    /// Refuses if the broker was closed.
    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        self.consuming.check_open(what)
    }

    /// Whether the server can be reached, as far as is known.
    pub(crate) fn health(&self) -> Health {
        match self.consuming.health() {
            Health::Green => self.publishing.health(),
            red => red,
        }
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        // A channel that closes at the same time as its connection is an error to the client library.
        let _ = tokio::time::timeout(self.options.target.timeout, self.mailbox_names.wait_for_all()).await;
        self.publishing.close().await;
        self.consuming.close().await;
    }
}

/// A number that grows from call to call, also from one process to the next: microseconds, as far as they do.
pub(crate) fn next_number(clock: &Clock) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(clock.now().as_microsecond()).unwrap_or_default();
    let next = |last: u64| Some(now.max(last.saturating_add(1)));
    match LAST.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
        Ok(last) | Err(last) => now.max(last.saturating_add(1)),
    }
}
