//! The chord store of the result backend.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, ChordStore};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::Connection;

use crate::backend::backend::SqliteBackend;
use crate::backend::chord;
use crate::crash_points::reached;
use crate::store::request::RequestCost;
use crate::store::transaction::{Tx, TxResult};

impl SqliteBackend {
    async fn count_part<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Tx<'_>) -> TxResult<T> + Send + 'static,
    ) -> Result<T> {
        reached("before-part");
        let progress = self.handle.write("count the part of the chord", RequestCost::durable(2), operation).await?;
        reached("after-part");
        Ok(progress)
    }
}

impl ChordStore for SqliteBackend {
    fn open(&self, header: ChordHeader) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let operation = move |tx: &mut Tx<'_>| chord::open(tx, &header);
            self.handle.write("open the chord", RequestCost::durable(1), operation).await
        })
    }

    fn part_done(&self, part: ChordPart) -> BoxFuture<'_, Result<ChordProgress>> {
        Box::pin(async move { self.count_part(move |tx| chord::part_done(tx, &part)).await })
    }

    fn part_unless_last(&self, part: ChordPart) -> BoxFuture<'_, Result<Option<ChordProgress>>> {
        Box::pin(async move {
            self.count_part(move |tx| match chord::count(tx.conn, &part.group, tx.now)? {
                Some(count) if count.may_end() => Ok(None),
                _ => chord::part_done(tx, &part).map(Some),
            })
            .await
        })
    }

    fn grow<'a>(&'a self, group: &'a str, added: &'a TaskId, ttl: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            reached("before-grow");
            let (group, added) = (group.to_owned(), added.clone());
            let operation = move |tx: &mut Tx<'_>| chord::grow(tx, &group, &added, ttl);
            self.handle.write("add a part to the chord", RequestCost::durable(1), operation).await?;
            reached("after-grow");
            Ok(())
        })
    }

    fn count<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Option<ChordCount>>> {
        Box::pin(async move {
            let group = group.to_owned();
            let read = move |conn: &Connection, now| chord::count(conn, &group, now);
            self.handle.read("count the parts of the chord", read).await
        })
    }

    fn end<'a>(&'a self, group: &'a str, claimant: &'a str, end: ChordEnd) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            reached("before-end");
            let (group, claimant) = (group.to_owned(), claimant.to_owned());
            let operation = move |tx: &mut Tx<'_>| chord::end(tx, &group, &claimant, end);
            let ended = self.handle.write("end the chord", RequestCost::durable(2), operation).await?;
            reached("after-end");
            Ok(ended)
        })
    }
}
