//! The result backend.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, StoreResult, StoredResults,
};
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use futures_util::future::BoxFuture;

use crate::backend::chord;
use crate::backend::document;
use crate::backend::result_store::ResultStore;
use crate::backend::results;
use crate::backend::watch_stream::watch;
use crate::connection::commands::CommandConnection;
use crate::options::backend::BackendOptions;
use crate::scripts::result_args::ttl_ms;

/// A result backend in Redis, on Celery's keys and channels, so that Celery and Apium read each other's results.
pub struct RedisBackend {
    address: Address,
    /// `None` after close, so that the connections end with the last handle.
    store: Mutex<Option<Arc<ResultStore>>>,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RedisBackend {
    /// Opens a result backend with connections of its own. It does not connect before it is used.
    ///
    /// # Errors
    /// If the address or an option is invalid.
    pub fn open(address: Address, options: &DriverOptions) -> Result<Self> {
        let read = BackendOptions::read(&address, options)?;
        Ok(Self::new(address, read, options.clock.clone()))
    }

    /// A result backend with connections of its own.
    pub(crate) fn new(address: Address, options: BackendOptions, clock: Clock) -> Self {
        let connection = CommandConnection::new(options.target.clone(), clock);
        Self::on(address, Arc::new(ResultStore::new(options, connection)))
    }

    /// One more handle on an open result store.
    pub(crate) fn on(address: Address, store: Arc<ResultStore>) -> Self {
        Self { address, store: Mutex::new(Some(store)), closed: Arc::default() }
    }

    fn open_store(&self, what: &str) -> Result<Arc<ResultStore>> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or_else(|| {
            let text = format!("{what}: this handle of {} was closed", self.address);
            Error::new(ErrorKind::Closed, text)
        })
    }
}

impl ResultBackend for RedisBackend {
    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::NONE;
        capabilities.durable = true;
        capabilities.multi_process = true;
        capabilities.every_state = true;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        Box::pin(async move {
            let store = self.open_store("store results")?;
            results::store(&store.connection, &store.keys, records).await
        })
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        Box::pin(async move {
            let store = self.open_store("watch results")?;
            let stream = watch(store, ids, self.closed.clone()).await?;
            Ok(Box::pin(stream) as ResultStream)
        })
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        Some(self)
    }

    fn chords(&self) -> Option<&dyn ChordStore> {
        Some(self)
    }

    fn health(&self) -> Health {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().map_or(Health::Green, |store| store.connection.health())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(store) = store {
                store.watcher.wake_all();
            }
            Ok(())
        })
    }
}

impl StoredResults for RedisBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        Box::pin(async move {
            let store = self.open_store("read results")?;
            results::fetch(&store.connection, &store.keys, ids).await
        })
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let what = "forget results";
            let store = self.open_store(what)?;
            let keys: Vec<String> = ids.iter().flat_map(|id| [store.keys.task(id), store.keys.run(id)]).collect();
            results::delete(&store.connection, what, &keys).await
        })
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        // The server deletes expired keys by itself.
        Box::pin(async move { self.open_store("purge expired results").map(|_| 0) })
    }
}

impl ChordStore for RedisBackend {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { chord::open(&*self.open_store("open the chord")?, header).await })
    }

    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        Box::pin(async move {
            let progress = chord::part_done(&*self.open_store("count the part of the chord")?, part, false).await?;
            // `None` is the answer to `unless_last` alone.
            Ok(progress.unwrap_or(ChordProgress::Waiting))
        })
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        Box::pin(async move { chord::part_done(&*self.open_store("count the part of the chord")?, part, true).await })
    }

    fn grow<'a>(&'a self, group: &'a str, added: &'a TaskId, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { chord::grow(&*self.open_store("let the chord grow")?, group, added, ttl).await })
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        Box::pin(async move { chord::count(&*self.open_store("ask how far the chord is")?, group).await })
    }

    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { chord::end(&*self.open_store("end the chord")?, group, claimant, end).await })
    }
}

impl GroupStore for RedisBackend {
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let what = "save the group";
            let store = self.open_store(what)?;
            let mut command = redis::cmd("SET");
            command.arg(store.keys.group(id)).arg(group.to_json());
            if let Some(ttl) = ttl_ms(ttl) {
                command.arg("PX").arg(ttl);
            }
            store.connection.command(what, &command).await.map(drop)
        })
    }

    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>> {
        Box::pin(async move {
            let store = self.open_store("read the group")?;
            let key = store.keys.group(id);
            let found = results::read(&store.connection, "read the group", std::slice::from_ref(&key)).await?;
            found.into_iter().flatten().next().map(|bytes| document::group(&key, &bytes)).transpose()
        })
    }

    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let store = self.open_store("delete the group")?;
            results::delete(&store.connection, "delete the group", &[store.keys.group(id)]).await
        })
    }
}
