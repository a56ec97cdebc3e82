//! A result backend in memory that records which of its methods were called. A test sets its counters of chords, and
//! lets it be out of reach.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, SharedBackend, StoreResult,
    StoredResults,
};
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::memory::MemoryDriver;
use futures_util::future::BoxFuture;

/// A call of the backend, with the ids in alphabetical order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BackendCall {
    Fetch(Vec<String>),
    Watch(Vec<String>),
    Forget(Vec<String>),
    Count(String),
}

/// The calls of the backend, and its counters of chords.
#[derive(Clone, Default)]
pub(crate) struct CallRecorder {
    calls: Arc<Mutex<Vec<BackendCall>>>,
    counts: Arc<Mutex<HashMap<String, ChordCount>>>,
    /// How many of the next calls find no connection.
    refusals: Arc<AtomicUsize>,
}

impl CallRecorder {
    pub(crate) fn take(&self) -> Vec<BackendCall> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(crate) fn set_count(&self, group: &str, count: Option<ChordCount>) {
        let mut counts = self.counts.lock().unwrap();
        match count {
            Some(count) => counts.insert(group.to_owned(), count),
            None => counts.remove(group),
        };
    }

    /// Lets the next calls find no connection.
    pub(crate) fn refuse(&self, calls: usize) {
        self.refusals.store(calls, Ordering::SeqCst);
    }

    /// How many calls are still to find no connection.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::SeqCst)
    }

    /// The answer of a call: `answer`, or that there is no connection.
    fn answer<'a, T: 'a>(&self, answer: BoxFuture<'a, Result<T>>) -> BoxFuture<'a, Result<T>> {
        let refused =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |refusals| refusals.checked_sub(1)).is_ok();
        match refused {
            true => Box::pin(async { Err(Error::new(ErrorKind::Connection, "reach the store: broken pipe")) }),
            false => answer,
        }
    }

    fn record(&self, call: fn(Vec<String>) -> BackendCall, ids: &[TaskId]) {
        let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.sort();
        self.calls.lock().unwrap().push(call(ids));
    }
}

/// An app with this result backend.
pub(crate) async fn app() -> (App, CallRecorder) {
    let recorder = CallRecorder::default();
    let driver = Watched { inner: MemoryDriver::new(), recorder: recorder.clone() };
    let builder = AppBuilder::new("proj", vec![Arc::new(driver)]).autodiscover(false);
    let app = builder.broker("memory://").backend("memory://").clock(crate::kit::clock()).build().await.unwrap();
    (app, recorder)
}

struct Watched {
    inner: MemoryDriver,
    recorder: CallRecorder,
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
            Ok(Arc::new(WatchedBackend { inner, recorder: self.recorder.clone() }) as SharedBackend)
        })
    }
}

struct WatchedBackend {
    inner: SharedBackend,
    recorder: CallRecorder,
}

impl ResultBackend for WatchedBackend {
    fn capabilities(&self) -> BackendCapabilities {
        self.inner.capabilities()
    }

    fn address(&self) -> &Address {
        self.inner.address()
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        self.recorder.answer(self.inner.store(records))
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        self.recorder.record(BackendCall::Watch, &ids);
        self.recorder.answer(self.inner.watch(ids))
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        self.inner.stored().is_some().then_some(self)
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        self.inner.groups().is_some().then_some(self)
    }

    fn chords(&self) -> Option<&dyn ChordStore> {
        Some(&self.recorder)
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

impl StoredResults for WatchedBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        self.recorder.record(BackendCall::Fetch, ids);
        self.recorder.answer(self.inner.stored().unwrap().fetch(ids))
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        self.recorder.record(BackendCall::Forget, &ids);
        self.recorder.answer(self.inner.stored().unwrap().forget(ids))
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        self.inner.stored().unwrap().purge_expired()
    }
}

impl GroupStore for WatchedBackend {
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        self.recorder.answer(self.inner.groups().unwrap().save_group(id, group, ttl))
    }

    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>> {
        self.recorder.answer(self.inner.groups().unwrap().load_group(id))
    }

    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.recorder.answer(self.inner.groups().unwrap().delete_group(id))
    }
}

impl ChordStore for CallRecorder {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        self.answer(Box::pin(async move {
            self.set_count(&header.group, Some(ChordCount::new(0, header.size)));
            Ok(())
        }))
    }

    fn part_done(&self, _: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        Box::pin(async { Ok(ChordProgress::Waiting) })
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        Box::pin(async move { self.part_done(part).await.map(Some) })
    }

    fn grow<'a>(&'a self, _: &'a str, _: &'a TaskId, _: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        self.calls.lock().unwrap().push(BackendCall::Count(group.to_owned()));
        let count = self.counts.lock().unwrap().get(group).copied();
        self.answer(Box::pin(async move { Ok(count) }))
    }

    fn end<'a>(&'a self, _: &'a str, _: &'a str, _: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }
}
