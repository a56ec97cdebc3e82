//! The hub with its connections: subscribing, reading, and reading again after a loss.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;

use crate::backend::results;
use crate::backend::watch_state::State;
use crate::backend::watch_table::{AfterUnlock, ReadStates, WatchTable};
use crate::connection::background::Background;
use crate::connection::commands::CommandConnection;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::subscriber::{ChannelMessage, Event, Subscriber};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All watches of one store in this process.
#[derive(Debug)]
pub(crate) struct ResultWatcher {
    connection: CommandConnection,
    subscriber: Subscriber,
    table: Mutex<WatchTable>,
    /// What reads again after a loss.
    reading: Mutex<Option<Background>>,
}

impl ResultWatcher {
    pub(crate) fn new(link: CommandConnection) -> Arc<Self> {
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
            Self { connection: link, subscriber, table: Mutex::default(), reading: Mutex::default() }
        })
    }

    fn table(&self) -> MutexGuard<'_, WatchTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the hub and what follows of it.
    fn with<T>(&self, work: impl FnOnce(&mut WatchTable, &mut AfterUnlock) -> T) -> T {
        let mut after = AfterUnlock::default();
        let done = work(&mut self.table(), &mut after);
        self.subscriber.unsubscribe(after.released.into_iter().map(ChannelName::Channel).collect());
        after.wakers.into_iter().for_each(Waker::wake);
        done
    }

    /// Enters a watch; [`leave`](Self::leave) has to follow.
    pub(crate) fn add(&self, keys: &[String], handle_closed: Arc<std::sync::atomic::AtomicBool>) -> u64 {
        let names: Vec<ChannelName> = keys.iter().cloned().map(ChannelName::Channel).collect();
        self.subscriber.need(&names);
        self.table().add(keys.to_vec(), handle_closed)
    }

    /// Begins a watch: subscribes, then reads.
    pub(crate) async fn begin(&self, number: u64, keys: &[String]) -> Result<()> {
        let mut found = ReadStates::new();
        let mut generation = self.table().generation();
        if !keys.is_empty() {
            self.subscriber.confirmed().await?;
            generation = self.table().generation();
            found = self.read(keys).await?;
        }
        while !self.with(|hub, after| hub.begin(number, generation, &found, after)) {
            self.subscriber.confirmed().await?;
            generation = self.table().generation();
            found = self.read(keys).await?;
        }
        Ok(())
    }

    /// Reads what is stored. When it has, every message that was published before has been told.
    async fn read(&self, keys: &[String]) -> Result<ReadStates> {
        let found = results::read(&self.connection, "watch results", keys).await?;
        let found: ReadStates = keys
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

    fn tell(&self, message: &ChannelMessage) {
        if self.table().is_watched(&message.channel) {
            let state = State::read(&message.channel, &message.payload);
            self.with(|hub, after| hub.on_message(&message.channel, &state, after));
        }
    }

    fn connected(&self, own: &Weak<Self>) {
        if self.with(WatchTable::connected) {
            // An older reading is of no use any more.
            let task = Background::start(read_again(own.clone()));
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        }
    }

    pub(crate) fn remove(&self, number: u64) {
        self.with(|hub, after| hub.remove(number, after));
    }

    /// Makes every watch look again, since a handle may have been closed.
    pub(crate) fn wake_all(&self) {
        self.with(WatchTable::wake_all);
    }

    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Option<Result<ResultDocument>>> {
        self.with(|hub, after| hub.poll(number, waker, after))
    }
}

/// Reads everything watched again, however often it takes.
async fn read_again(watches: Weak<ResultWatcher>) {
    let mut pause = FIRST_PAUSE;
    while let Some(watches) = watches.upgrade() {
        let (generation, keys) = watches.table().to_read();
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
