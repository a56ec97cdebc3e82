//! A result backend around another one. A watch of it panics when nothing that it waits for can come.

use apium_protocol::message::task_id::TaskId;
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, SharedBackend, StoreResult,
    StoredResults,
};
use apium_transport::backend::chord::ChordStore;
use apium_transport::error::Result;
use apium_transport::health::Health;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;

use crate::testing::standstill::Standstill;

/// The result backend of a test.
pub(crate) struct WatchedBackend {
    pub(crate) inner: SharedBackend,
    pub(crate) standstill: Standstill,
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
        Box::pin(async move {
            let states = self.inner.watch(ids.clone()).await?;
            let watch = unfold((states, ids, self.standstill.clone()), async |(mut states, ids, standstill)| {
                let next = tokio::select! {
                    biased;
                    next = states.next() => next,
                    text = standstill.noticed(&ids) => panic!("{text}"),
                };
                next.map(|next| (next, (states, ids, standstill)))
            });
            Ok(Box::pin(watch) as ResultStream)
        })
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        self.inner.stored()
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        self.inner.groups()
    }

    fn chords(&self) -> Option<&dyn ChordStore> {
        self.inner.chords()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}
