//! A link: the connection of one purpose, opened when it is first needed and again when it is lost. Each connection
//! has an epoch, so that what belongs to a lost one is known.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use futures_util::StreamExt as _;
use lapin::{Channel, Event};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connection::connect::{Opened, connect};
use crate::connection::runtime;
use crate::errors::{closed, is_of_channel};
use crate::options::target::Target;

/// An open connection of a link.
pub(crate) struct Live {
    opened: Opened,
    /// Tells it from the connections before and after it.
    pub(crate) epoch: u64,
    /// Why the server takes no publishes at present (`connection.blocked`), if it does not. It ends with the
    /// connection.
    blocked: watch::Receiver<Option<String>>,
    /// How long one command may take.
    timeout: Duration,
}

impl Live {
    /// Whether it can be used, as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        self.opened.connection.status().connected()
    }

    /// Asks the library for a channel. It may not answer when the connection ends.
    pub(super) async fn create_channel(&self) -> lapin::Result<Channel> {
        self.opened.connection.create_channel().await
    }

    /// How long one command may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns when the connection is lost. Cancel-safe.
    pub(crate) async fn lost(&self) {
        // What is waited for never comes, so this ends with the sender.
        let _ = self.blocked.clone().wait_for(|_| false).await;
    }

    /// Its server, for errors.
    pub(crate) fn server(&self) -> &str {
        &self.opened.server
    }

    /// Why the server takes no publishes, if it does not.
    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Ends it at once.
    pub(crate) fn abort(&self) {
        self.opened.abort();
    }

    /// Ends it in order, so that the server knows that nothing is missing.
    async fn close(&self) {
        if self.is_alive() && self.blocked().is_none() {
            let closing = self.opened.connection.close(200, "OK".into());
            // If it fails, the connection is gone already.
            let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
        }
        self.opened.abort();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("server", &self.opened.server).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The connection of one purpose.
pub(crate) struct Link {
    target: Target,
    /// What it is for, as the server's operator reads it.
    name: String,
    clock: Clock,
    slot: tokio::sync::Mutex<Slot>,
    epochs: Arc<AtomicU64>,
    closed: AtomicBool,
    health: Arc<Mutex<Health>>,
}

#[derive(Default)]
struct Slot {
    live: Option<Arc<Live>>,
    /// The attempt that is under way. It goes on when its caller is dropped, and the next caller waits for it.
    opening: Option<JoinHandle<Result<Opened>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("name", &self.name).field("target", &self.target).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(target: Target, name: String, clock: Clock) -> Self {
        Self {
            target,
            name,
            clock,
            slot: tokio::sync::Mutex::default(),
            epochs: Arc::default(),
            closed: AtomicBool::new(false),
            health: Arc::new(Mutex::new(Health::Green)),
        }
    }

    /// What it connects to.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The open connection; opens one if there is none. Cancel-safe.
    pub(crate) async fn get(&self, what: &str) -> Result<Arc<Live>> {
        self.check_open(what)?;
        let mut slot = self.slot.lock().await;
        if let Some(live) = &slot.live {
            if live.is_alive() {
                return Ok(live.clone());
            }
            live.abort();
            slot.live = None;
        }
        let opening = match &mut slot.opening {
            Some(opening) => opening,
            None => {
                let (target, name) = (self.target.clone(), self.name.clone());
                slot.opening.insert(runtime::handle()?.spawn(async move { connect(&target, &name).await }))
            }
        };
        let opened = opening.await;
        slot.opening = None;
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                self.set_red(&with_causes(&error).to_string());
                let kind = error.kind();
                return Err(Error::new(kind, what).with_source(error));
            }
            Err(_) => return Err(Error::new(ErrorKind::Other, format!("{what}: connecting was interrupted"))),
        };
        if self.closed.load(Ordering::Acquire) {
            opened.abort();
            return Err(closed(what));
        }
        let live = self.accept(opened)?;
        slot.live = Some(live.clone());
        Ok(live)
    }

    fn accept(&self, opened: Opened) -> Result<Arc<Live>> {
        let epoch = self.epochs.fetch_add(1, Ordering::AcqRel) + 1;
        let (blocks, blocked) = watch::channel(None);
        let mut events = Box::pin(opened.connection.events_listener());
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::Green;
        let epochs = self.epochs.clone();
        let (health, clock, server) = (self.health.clone(), self.clock.clone(), opened.server.clone());
        runtime::handle()?.spawn(async move {
            // What a connection before the present one has to say means nothing any more.
            let set = |to: Health| {
                if epochs.load(Ordering::Acquire) == epoch {
                    *health.lock().unwrap_or_else(PoisonError::into_inner) = to;
                }
            };
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        let reason = reason.escape_debug().to_string();
                        tracing::warn!(server, reason, "RabbitMQ takes no messages now");
                        let text = format!("{server} takes no messages now: {reason}");
                        set(Health::Red { since: clock.now(), reason: text });
                        blocks.send_replace(Some(reason));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(server, "RabbitMQ takes messages again");
                        set(Health::Green);
                        blocks.send_replace(None);
                    }
                    // One channel was closed, as by a look for a queue that is not there.
                    Event::Error(error) if is_of_channel(&error) => {}
                    Event::Error(error) => {
                        let reason = format!("the connection to {server} is lost: {error}");
                        set(Health::Red { since: clock.now(), reason });
                        break;
                    }
                    _ => {}
                }
            }
        });
        Ok(Arc::new(Live { opened, epoch, blocked, timeout: self.target.timeout }))
    }

    fn set_red(&self, reason: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*health {
            Health::Red { since, .. } => *since,
            Health::Green => self.clock.now(),
        };
        *health = Health::Red { since, reason: format!("could not {reason}") };
    }

    /// Whether it works, as far as is known.
    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses if it was closed.
    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed(what)) } else { Ok(()) }
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it for good.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let live = self.slot.lock().await.live.take();
        if let Some(live) = live {
            live.close().await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(live) = self.slot.get_mut().live.take() {
            live.abort();
        }
    }
}
