//! The watcher: the watch table with its connections. It subscribes, reads, and reads again after a lost connection.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::backend::watch_state::{StateVersion, WatchedState};
use apium_transport::backend::watch_table::{WatchChanges, WatchTable};
use apium_transport::error::Result;
use bytes::Bytes;

use crate::backend::{document, results};
use crate::connection::background::Background;
use crate::connection::commands::CommandConnection;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::subscriber::{ChannelMessage, Subscriber, SubscriberEvent};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// All watches of one store in this process.
#[derive(Debug)]
pub(crate) struct ResultWatcher {
    connection: CommandConnection,
    subscriber: Subscriber,
    watches: Mutex<Watches>,
    /// The task that reads again after a lost connection.
    reading: Mutex<Option<Background>>,
}

/// The watches, by the keys of their tasks' results, which are also the names of the channels.
#[derive(Debug, Default)]
struct Watches {
    table: WatchTable<String>,
    /// The number of the last connection for messages. What was read before it may miss a state.
    generation: u64,
}

/// A state of a task, as a message or a read brought it. The hash shows that both brought the same state.
fn watched_state(key: &str, bytes: &Bytes) -> WatchedState {
    let version = StateVersion::Fingerprint(HASHER.hash_one(bytes));
    WatchedState::new(version, document::result(key, bytes).map(Arc::new))
}

impl ResultWatcher {
    pub(crate) fn new(connection: CommandConnection) -> Arc<Self> {
        Arc::new_cyclic(|own: &Weak<Self>| {
            let own = own.clone();
            let listener = move |event| {
                if let Some(watcher) = own.upgrade() {
                    match event {
                        SubscriberEvent::Message(message) => watcher.on_message(&message),
                        SubscriberEvent::Connected => watcher.on_connected(&own),
                        // What was lost is read when there is a new connection.
                        SubscriberEvent::Lost => {}
                    }
                }
            };
            let target = connection.target().clone();
            let quiet = target.answer_timeout * 2;
            let subscriber = Subscriber::new(target, connection.clock().clone(), quiet, Box::new(listener));
            Self { connection, subscriber, watches: Mutex::default(), reading: Mutex::default() }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the watches under their lock, and tells the subscriber which channels are needed.
    fn change<T>(&self, change: impl FnOnce(&mut Watches, &mut WatchChanges<String>) -> T) -> T {
        let mut changes = WatchChanges::default();
        let mut watches = self.lock();
        let changed = change(&mut watches, &mut changes);
        // Under the lock, so that the subscriber gets the changes in their order, and so that a second watch of a task
        // can rely on the subscription of the first.
        let names = |keys: &mut Vec<String>| keys.drain(..).map(ChannelName::Channel).collect::<Vec<_>>();
        if !changes.watched.is_empty() {
            self.subscriber.need(&names(&mut changes.watched));
        }
        self.subscriber.unsubscribe(names(&mut changes.unwatched));
        drop(watches);
        changes.wake();
        changed
    }

    /// Changes the watch table under its lock.
    pub(crate) fn change_watches<T>(
        &self,
        change: impl FnOnce(&mut WatchTable<String>, &mut WatchChanges<String>) -> T,
    ) -> T {
        self.change(|watches, changes| change(&mut watches.table, changes))
    }

    /// Adds a watch. [`start`](Self::start) has to follow, which subscribes.
    pub(crate) fn add(&self, keys: &[String], handle_closed: Arc<AtomicBool>) -> u64 {
        self.change_watches(|table, changes| table.add(keys.iter().cloned(), handle_closed, changes))
    }

    /// Starts a watch: subscribes, then reads.
    pub(crate) async fn start(&self, number: u64, keys: &[String]) -> Result<()> {
        loop {
            let mut generation = self.lock().generation;
            let mut read = Vec::new();
            if !keys.is_empty() {
                self.subscriber.confirmed().await?;
                generation = self.lock().generation;
                read = self.read(keys).await?;
            }
            let started = self.change(|watches, changes| {
                let is_current = generation == watches.generation;
                if is_current {
                    watches.table.start(number, &read, changes);
                }
                is_current
            });
            if started {
                return Ok(());
            }
        }
    }

    /// Reads what is stored. When it returns, every message that was published before the read has come too.
    async fn read(&self, keys: &[String]) -> Result<Vec<(String, WatchedState)>> {
        let stored = results::read(&self.connection, "watch results", keys).await?;
        let state = |(key, bytes): (&String, Option<Bytes>)| Some((key.clone(), watched_state(key, &bytes?)));
        let read: Vec<_> = keys.iter().zip(stored).filter_map(state).collect();
        // Only a state that is not the last of its task must be ordered among the messages.
        if read.iter().any(|(_, state)| !state.is_last()) {
            self.subscriber.caught_up().await?;
        }
        Ok(read)
    }

    fn on_message(&self, message: &ChannelMessage) {
        if self.lock().table.is_watched(&message.channel) {
            let state = watched_state(&message.channel, &message.payload);
            self.change_watches(|table, changes| table.notify(&message.channel, &state, changes));
        }
    }

    fn on_connected(&self, own: &Weak<Self>) {
        let must_read = self.change(|watches, changes| {
            watches.generation += 1;
            watches.table.hold_back(changes)
        });
        if must_read {
            // This ends an older read, which is of no use any more.
            let background = Background::start(read_again(own.clone()));
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        }
    }

    /// Wakes every watch, since a handle may have been closed.
    pub(crate) fn wake_all(&self) {
        self.change_watches(WatchTable::wake_all);
    }
}

/// Reads all that is watched again, and tries until it succeeds.
async fn read_again(watcher: Weak<ResultWatcher>) {
    let mut pause = FIRST_PAUSE;
    while let Some(watcher) = watcher.upgrade() {
        let (generation, keys) = {
            let watches = watcher.lock();
            (watches.generation, watches.table.held_back_ids())
        };
        if keys.is_empty() {
            return;
        }
        match watcher.read(&keys).await {
            Ok(read) => {
                watcher.change(|watches, changes| {
                    // If there is another connection by now, it has started another read.
                    if generation == watches.generation {
                        watches.table.resume(&read, changes);
                    }
                });
                return;
            }
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "could not read watched results again; trying again")
            }
        }
        drop(watcher);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
