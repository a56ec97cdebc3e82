//! The result backend: stores, reads and watches results, and saves groups.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{GroupDocument, ResultDocument};
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, StoreResult, StoredResults,
};
use apium_transport::backend::chord::ChordStore;
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, params};

use crate::backend::{results, watch_stream};
use crate::handle::Handle;
use crate::publish::message_row::Text;
use crate::store::request::RequestCost;
use crate::store::result_row::{Id, ResultRow};
use crate::store::transaction::Tx;

/// A result backend in one SQLite file. Several processes of one machine may open the same file.
#[derive(Debug)]
pub struct SqliteBackend {
    pub(crate) handle: Handle,
}

impl SqliteBackend {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl ResultBackend for SqliteBackend {
    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::NONE;
        capabilities.durable = true;
        capabilities.multi_process = true;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.handle.address
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        Box::pin(async move {
            let records: Vec<Arc<ResultRow>> = records.into_iter().map(|record| Arc::new(record.into())).collect();
            let cost = RequestCost::durable(records.len());
            let operation = move |tx: &mut Tx<'_>| records.iter().map(|record| results::store(tx, record)).collect();
            self.handle.write("store results", cost, operation).await
        })
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        Box::pin(async move { Ok(Box::pin(watch_stream::watch(&self.handle, ids).await?) as ResultStream) })
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
        self.handle.file.store.condition.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.handle.close();
            Ok(())
        })
    }
}

impl StoredResults for SqliteBackend {
    fn fetch<'a>(&'a self, ids: &'a [TaskId]) -> BoxFuture<'a, Result<Vec<Option<ResultDocument>>>> {
        Box::pin(async move {
            let ids = ids.to_vec();
            let read = move |conn: &Connection, now| {
                ids.iter().map(|id| results::fetch(conn, id, now)).collect::<rusqlite::Result<Vec<_>>>()
            };
            let found = self.handle.read("read results", read).await?;
            found.into_iter().map(|found| found.map(|(_, document)| document).transpose()).collect()
        })
    }

    fn forget(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ids: Vec<Id> = ids.iter().map(Id::new).collect();
            let cost = RequestCost::durable(ids.len());
            self.handle.write("forget results", cost, move |tx: &mut Tx<'_>| results::forget(tx, &ids)).await
        })
    }

    fn purge_expired(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.handle.check_open("purge expired results")?;
            self.handle.file.store.purge_expired(false).await
        })
    }
}

impl GroupStore for SqliteBackend {
    fn save_group<'a>(&'a self, id: &'a str, group: GroupDocument, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (id, json) = (id.to_owned(), group.to_json());
            let operation = move |tx: &mut Tx<'_>| {
                let expires = ttl.map(|ttl| tx.after(ttl));
                tx.conn
                    .prepare_cached("INSERT OR REPLACE INTO saved_group (id, expires, document) VALUES (?1, ?2, ?3)")?
                    .execute(params![id, expires, Text(&json)])?;
                Ok(())
            };
            self.handle.write("save the group", RequestCost::durable(1), operation).await
        })
    }

    fn load_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<GroupDocument>>> {
        Box::pin(async move {
            let name = id.to_owned();
            let read = move |conn: &Connection, now| {
                conn.prepare_cached(
                    "SELECT document FROM saved_group WHERE id = ?1 AND (expires IS NULL OR expires > ?2)",
                )?
                .query_row(params![name, now], |row| row.get::<_, String>(0))
                .optional()
            };
            let Some(json) = self.handle.read("read the group", read).await? else { return Ok(None) };
            GroupDocument::from_json(json.as_bytes()).map(Some).map_err(|error| {
                let context = format!("read the group {id}: its row is damaged");
                Error::new(ErrorKind::Corrupt, context).with_source(error)
            })
        })
    }

    fn delete_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let name = id.to_owned();
            let operation = move |tx: &mut Tx<'_>| {
                tx.conn.prepare_cached("DELETE FROM saved_group WHERE id = ?1")?.execute([&name])?;
                Ok(())
            };
            self.handle.write("delete the group", RequestCost::durable(1), operation).await
        })
    }
}
