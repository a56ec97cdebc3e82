//! The watcher: the watch table with its connections. It subscribes, reads, and reads again after a lost connection.

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
    /// The task that reads again after a lost connection.
    reading: Mutex<Option<Background>>,
}

impl ResultWatcher {
    pub(crate) fn new(connection: CommandConnection) -> Arc<Self> {
        Arc::new_cyclic(|own: &Weak<Self>| {
            let own = own.clone();
            let listener = move |event| {
                if let Some(watcher) = own.upgrade() {
                    match event {
                        Event::Message(message) => watcher.tell(&message),
                        Event::Connected => watcher.connected(&own),
                    }
                }
            };
            let target = connection.target().clone();
            let quiet = target.answer_timeout * 2;
            let subscriber = Subscriber::new(target, connection.clock().clone(), quiet, Box::new(listener));
            Self { connection, subscriber, table: Mutex::default(), reading: Mutex::default() }
        })
    }

    fn table(&self) -> MutexGuard<'_, WatchTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the table for `f`, and then does what is to be done after unlocking.
    fn with<T>(&self, f: impl FnOnce(&mut WatchTable, &mut AfterUnlock) -> T) -> T {
        let mut after = AfterUnlock::default();
        let done = f(&mut self.table(), &mut after);
        self.subscriber.unsubscribe(after.released.into_iter().map(ChannelName::Channel).collect());
        after.wakers.into_iter().for_each(Waker::wake);
        done
    }

    /// Adds a watch; [`remove`](Self::remove) has to follow.
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
        while !self.with(|table, after| table.begin(number, generation, &found, after)) {
            self.subscriber.confirmed().await?;
            generation = self.table().generation();
            found = self.read(keys).await?;
        }
        Ok(())
    }

    /// Reads what is stored. When it returns, every message that was published before the read has come too.
    async fn read(&self, keys: &[String]) -> Result<ReadStates> {
        let found = results::read(&self.connection, "watch results", keys).await?;
        let found: ReadStates = keys
            .iter()
            .zip(found)
            .map(|(key, bytes)| (key.clone(), bytes.map(|bytes| State::read(key, &bytes))))
            .collect();
        // Only a state that is not the last of its task must be ordered among the messages.
        if found.values().flatten().any(|state| !state.last) {
            self.subscriber.caught_up().await?;
        }
        Ok(found)
    }

    fn tell(&self, message: &ChannelMessage) {
        if self.table().is_watched(&message.channel) {
            let state = State::read(&message.channel, &message.payload);
            self.with(|table, after| table.on_message(&message.channel, &state, after));
        }
    }

    fn connected(&self, own: &Weak<Self>) {
        if self.with(WatchTable::connected) {
            // This ends an older read, which is of no use any more.
            let background = Background::start(read_again(own.clone()));
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        }
    }

    pub(crate) fn remove(&self, number: u64) {
        self.with(|table, after| table.remove(number, after));
    }

    /// Wakes every watch, since a handle may have been closed.
    pub(crate) fn wake_all(&self) {
        self.with(WatchTable::wake_all);
    }

    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Option<Result<ResultDocument>>> {
        self.with(|table, after| table.poll(number, waker, after))
    }
}

/// Reads all that is watched again, and tries until it succeeds.
async fn read_again(watcher: Weak<ResultWatcher>) {
    let mut pause = FIRST_PAUSE;
    while let Some(watcher) = watcher.upgrade() {
        let (generation, keys) = watcher.table().to_read();
        if keys.is_empty() {
            return;
        }
        match watcher.read(&keys).await {
            Ok(found) => {
                // If there is another connection by now, it has started another read.
                let _ = watcher.with(|table, after| table.read_again(generation, &found, after));
                return;
            }
            Err(error) => tracing::debug!(%error, "could not read watched results again; trying again"),
        }
        drop(watcher);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
