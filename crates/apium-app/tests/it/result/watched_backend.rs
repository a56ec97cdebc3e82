//! A result backend in memory that keeps which of its methods were called, and has counters of chords that a test sets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, SharedBackend, StoreResult,
    StoredResults,
};
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use apium_transport::memory::MemoryDriver;
use futures_util::future::BoxFuture;

/// A call of the backend, its ids in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Fetch(Vec<String>),
    Watch(Vec<String>),
    Forget(Vec<String>),
    Count(String),
}

/// What was called, and what the counters say.
#[derive(Clone, Default)]
pub(crate) struct Eye {
    seen: Arc<Mutex<Vec<Seen>>>,
    counts: Arc<Mutex<HashMap<String, ChordCount>>>,
}

impl Eye {
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(crate) fn set_count(&self, group: &str, count: Option<ChordCount>) {
        let mut counts = self.counts.lock().unwrap();
        match count {
            Some(count) => counts.insert(group.to_owned(), count),
            None => counts.remove(group),
        };
    }

    fn note(&self, seen: fn(Vec<String>) -> Seen, ids: &[TaskId]) {
        let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.sort();
        self.seen.lock().unwrap().push(seen(ids));
    }
}

/// An app whose result backend is looked at.
pub(crate) async fn app() -> (App, Eye) {
    let eye = Eye::default();
    let driver = Watched { inner: MemoryDriver::new(), eye: eye.clone() };
    let builder = AppBuilder::new("proj", vec![Arc::new(driver)]).autodiscover(false);
    let app = builder.broker("memory://").backend("memory://").clock(crate::kit::clock()).build().await.unwrap();
    (app, eye)
}

struct Watched {
    inner: MemoryDriver,
    eye: Eye,
}

impl Driver for Watched {
    fn schemes(&self) -> &'static [&'static str] {
        self.inner.schemes()
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        self.inner.broker(address, options)
    }

    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move {
            let inner = self.inner.backend(address, options).await?;
            Ok(Arc::new(WatchedBackend { inner, eye: self.eye.clone() }) as SharedBackend)
        })
    }
}

struct WatchedBackend {
    inner: SharedBackend,
    eye: Eye,
}

impl ResultBackend for WatchedBackend {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn address(&self) -> &Address {
        self.inner.address()
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        self.inner.store(records)
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        self.eye.note(Seen::Watch, &ids);
        self.inner.watch(ids)
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        self.inner.stored().is_some().then_some(self)
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        self.inner.groups()
    }

    fn chords(&self) -> Option<&dyn ChordStore> {
        Some(&self.eye)
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

impl StoredResults for WatchedBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        self.eye.note(Seen::Fetch, ids);
        self.inner.stored().unwrap().fetch(ids)
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        self.eye.note(Seen::Forget, &ids);
        self.inner.stored().unwrap().forget(ids)
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        self.inner.stored().unwrap().purge_expired()
    }
}

impl ChordStore for Eye {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        self.set_count(&header.group, Some(ChordCount::new(0, header.size)));
        Box::pin(async { Ok(()) })
    }

    fn part_done(&self, _: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        Box::pin(async { Ok(ChordProgress::Waiting) })
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        Box::pin(async move { self.part_done(part).await.map(Some) })
    }

    fn grow<'a>(&'a self, _: &'a str, _: u64, _: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        self.seen.lock().unwrap().push(Seen::Count(group.to_owned()));
        let count = self.counts.lock().unwrap().get(group).copied();
        Box::pin(async move { Ok(count) })
    }

    fn end<'a>(&'a self, _: &'a str, _: &'a str, _: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }
}
