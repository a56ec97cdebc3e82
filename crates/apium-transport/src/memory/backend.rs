//! The result backend of the memory driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, StoreResult, StoredResults,
};
use crate::backend::chord::ChordStore;
use crate::backend::watch_stream::{WatchStream, WatchTableOwner};
use crate::backend::watch_table::{WatchChanges, WatchTable};
use crate::error::Result;
use crate::memory::handle::closed_error;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::expiry::after;
use crate::memory::store::namespace::SharedNamespace;
use crate::memory::store::results::StoredGroup;

/// A result backend in this process.
#[derive(Debug)]
pub struct MemoryBackend {
    pub(crate) store: Arc<SharedNamespace>,
    closed: Arc<AtomicBool>,
    address: Address,
}

impl MemoryBackend {
    pub(crate) fn new(store: Arc<SharedNamespace>, address: Address) -> Self {
        Self { store, address, closed: Arc::new(AtomicBool::new(false)) }
    }

    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(closed_error(what)),
            false => Ok(()),
        }
    }

    /// [`ResultBackend::store`], called directly.
    pub fn store_batch(&self, records: Vec<ResultRecord>) -> Result<Vec<StoreResult>> {
        self.check_open("store results")?;
        let (now, mut after_unlock) = (self.store.clock.now(), AfterUnlock::default());
        let stored = {
            let mut namespace = self.store.lock();
            records.into_iter().map(|record| namespace.results.store(record, now, &mut after_unlock)).collect()
        };
        after_unlock.run();
        Ok(stored)
    }

    /// [`StoredResults::fetch`], called directly.
    pub fn fetch_batch(&self, ids: &[TaskId]) -> Result<Vec<Option<ResultDocument>>> {
        self.check_open("read results")?;
        let now = self.store.clock.now();
        let found: Vec<Option<Arc<ResultDocument>>> = {
            let namespace = self.store.lock();
            ids.iter().map(|id| namespace.results.fetch(id, now)).collect()
        };
        Ok(found.into_iter().map(|document| document.map(Arc::unwrap_or_clone)).collect())
    }
}

impl ResultBackend for MemoryBackend {
    fn capabilities(&self) -> BackendCapabilities {
        BackendCapabilities { durable: false, multi_process: false, every_state: true }
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        Box::pin(async move { self.store_batch(records) })
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        Box::pin(async move {
            self.check_open("watch results")?;
            let now = self.store.clock.now();
            let number = self.store.lock().results.watch(&ids, self.closed.clone(), now);
            Ok(Box::pin(WatchStream::new(self.store.clone(), number)) as ResultStream)
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

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            self.store.change_watches(WatchTable::wake_all);
            Ok(())
        })
    }
}

impl StoredResults for MemoryBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        Box::pin(async move { self.fetch_batch(ids) })
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open("forget results")?;
            let forgotten = self.store.lock().results.forget(&ids);
            drop(forgotten);
            Ok(())
        })
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.check_open("purge expired results")?;
            let now = self.store.clock.now();
            let mut namespace = self.store.lock();
            Ok(namespace.results.purge_expired(now) + namespace.chords.purge_expired(now))
        })
    }
}

impl GroupStore for MemoryBackend {
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check_open("save the group")?;
            let now = self.store.clock.now();
            let expires = ttl.map(|ttl| after(now, ttl));
            self.store.lock().results.groups.insert(id.to_owned(), StoredGroup { document: group, expires });
            Ok(())
        })
    }

    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>> {
        Box::pin(async move {
            self.check_open("read the group")?;
            let now = self.store.clock.now();
            Ok(self.store.lock().results.group(id, now))
        })
    }

    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check_open("delete the group")?;
            self.store.lock().results.groups.remove(id);
            Ok(())
        })
    }
}

impl WatchTableOwner for SharedNamespace {
    type Id = TaskId;

    fn change_watches<T>(&self, change: impl FnOnce(&mut WatchTable<TaskId>, &mut WatchChanges<TaskId>) -> T) -> T {
        let mut changes = WatchChanges::default();
        let changed = change(&mut self.lock().results.watches, &mut changes);
        changes.wake();
        changed
    }
}
