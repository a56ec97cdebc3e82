//! The hub with its connections: subscribing, reading, and reading again after a loss.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;

use crate::backend::results;
use crate::backend::watch_state::State;
use crate::backend::watch_table::{After, Found, Hub};
use crate::connection::background::Task;
use crate::connection::commands::Link;
use crate::pubsub::channels::Name;
use crate::pubsub::subscriber::{Event, Message, Subscriber};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All watches of one store in this process.
#[derive(Debug)]
pub(crate) struct Watches {
    link: Link,
    subscriber: Subscriber,
    hub: Mutex<Hub>,
    /// What reads again after a loss.
    reading: Mutex<Option<Task>>,
}

impl Watches {
    pub(crate) fn new(link: Link) -> Arc<Self> {
        Arc::new_cyclic(|own: &Weak<Self>| {
            let own = own.clone();
            let listener = move |event| {
                if let Some(watches) = own.upgrade() {
                    match event {
                        Event::Message(message) => watches.tell(&message),
                        Event::Connected => watches.connected(&own),
                    }
                }
            };
            let target = link.target().clone();
            let quiet = target.answer_timeout * 2;
            let subscriber = Subscriber::new(target, link.clock().clone(), quiet, Box::new(listener));
            Self { link, subscriber, hub: Mutex::default(), reading: Mutex::default() }
        })
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the hub and what follows of it.
    fn with<T>(&self, work: impl FnOnce(&mut Hub, &mut After) -> T) -> T {
        let mut after = After::default();
        let done = work(&mut self.hub(), &mut after);
        self.subscriber.unsubscribe(after.released.into_iter().map(Name::Channel).collect());
        after.wakers.into_iter().for_each(Waker::wake);
        done
    }

    /// Enters a watch; [`leave`](Self::leave) has to follow.
    pub(crate) fn enter(&self, keys: &[String], handle_closed: Arc<std::sync::atomic::AtomicBool>) -> u64 {
        let names: Vec<Name> = keys.iter().cloned().map(Name::Channel).collect();
        self.subscriber.begin(&names);
        self.hub().enter(keys.to_vec(), handle_closed)
    }

    /// Begins a watch: subscribes, then reads.
    pub(crate) async fn begin(&self, number: u64, keys: &[String]) -> Result<()> {
        let mut found = Found::new();
        let mut generation = self.hub().generation();
        if !keys.is_empty() {
            self.subscriber.confirmed().await?;
            generation = self.hub().generation();
            found = self.read(keys).await?;
        }
        while !self.with(|hub, after| hub.begin(number, generation, &found, after)) {
            self.subscriber.confirmed().await?;
            generation = self.hub().generation();
            found = self.read(keys).await?;
        }
        Ok(())
    }

    /// Reads what is stored. When it has, every message that was published before has been told.
    async fn read(&self, keys: &[String]) -> Result<Found> {
        let found = results::read(&self.link, "watch results", keys).await?;
        let found: Found = keys
            .iter()
            .zip(found)
            .map(|(key, bytes)| (key.clone(), bytes.map(|bytes| State::read(key, &bytes))))
            .collect();
        // A last state needs no place among the messages, and neither does nothing.
        if found.values().flatten().any(|state| !state.last) {
            self.subscriber.caught_up().await?;
        }
        Ok(found)
    }

    fn tell(&self, message: &Message) {
        if self.hub().is_watched(&message.channel) {
            let state = State::read(&message.channel, &message.payload);
            self.with(|hub, after| hub.tell(&message.channel, &state, after));
        }
    }

    fn connected(&self, own: &Weak<Self>) {
        if self.with(Hub::connected) {
            // An older reading is of no use any more.
            let task = Task::start(read_again(own.clone()));
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
    }

    pub(crate) fn leave(&self, number: u64) {
        self.with(|hub, after| hub.leave(number, after));
    }

    /// Makes every watch look again, since a handle may have been closed.
    pub(crate) fn wake_all(&self) {
        self.with(Hub::wake_all);
    }

    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Option<Result<ResultDocument>>> {
        self.with(|hub, after| hub.poll(number, waker, after))
    }
}

/// Reads everything watched again, however often it takes.
async fn read_again(watches: Weak<Watches>) {
    let mut pause = FIRST_PAUSE;
    while let Some(watches) = watches.upgrade() {
        let (generation, keys) = watches.hub().to_read();
        if keys.is_empty() {
            return;
        }
        match watches.read(&keys).await {
            Ok(found) => {
                // It is of no use when another connection has come, and with it another reading.
                let _ = watches.with(|hub, after| hub.read_again(generation, &found, after));
                return;
            }
            Err(error) => tracing::debug!(%error, "watched results could not be read again yet"),
        }
        drop(watches);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
