//! The acker: it settles the deliveries of one consumer.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost,
};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

use crate::consumer::data_loss::move_if_data_lost;
use crate::consumer::heartbeat::renew_in_flight;
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::scripts::operation::MAX_DELIVERIES;
use crate::settle::prepared::{PreparedSettlement, prepare};
use crate::settle::settle::settle;
use crate::shared::BrokerShared;

/// The acker of a consumer.
#[derive(Debug)]
pub(crate) struct RedisAcker {
    pub(crate) shared: Arc<BrokerShared>,
    pub(crate) state: Arc<ConsumerState>,
}

impl Acker for RedisAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ack = |receipt| PreparedSettlement::of_delivery(receipt, Acknowledgement::Ack);
            settle(&self.shared, &self.state, "ack", receipts.into_iter().map(ack).collect()).await
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let reject = |(receipt, how)| PreparedSettlement::of_delivery(receipt, Acknowledgement::Reject(how));
            settle(&self.shared, &self.state, "reject", receipts.into_iter().map(reject).collect()).await
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let id = self.state.id();
            let found = self.state.look_up(receipts.iter().cloned());
            let mut lost = found.lost;
            for batch in found.owned.chunks(MAX_DELIVERIES) {
                let tags: Vec<(&str, bool)> = batch.iter().map(|(_, tag, _)| (tag.as_str(), true)).collect();
                // The state comes before the server: a heartbeat that is sent meanwhile must not write that they have
                // not started.
                self.state.mark_started(batch.iter().map(|(number, ..)| *number));
                reached("before-mark-started");
                let gone = renew_in_flight(&self.shared, "mark runs as started", &tags).await?;
                reached("after-mark-started");
                let gone: Vec<_> = gone.into_iter().filter_map(|index| batch.get(index)).collect();
                if !gone.is_empty() {
                    move_if_data_lost(&self.shared, &self.state, &id).await?;
                }
                let moved = self.state.moved_from(&id, gone.iter().map(|(number, ..)| *number));
                let gone: Vec<_> = gone.into_iter().filter(|(number, ..)| !moved.contains(number)).collect();
                self.state.remove(gone.iter().map(|(number, ..)| *number));
                lost.extend(gone.iter().map(|(number, _, in_flight)| ConsumerState::receipt(*number, in_flight)));
            }
            match lost.is_empty() {
                true => Ok(()),
                false => Err(lease_lost("start", &lost, receipts.len())),
            }
        })
    }

    fn unmark_started(&self, receipts: &[Receipt]) {
        self.state.unmark(receipts);
    }

    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let unmarked = self.state.unmark_all();
            for batch in unmarked.chunks(MAX_DELIVERIES) {
                let tags: Vec<(&str, bool)> = batch.iter().map(|tag| (tag.as_str(), false)).collect();
                renew_in_flight(&self.shared, "take back marks of started runs", &tags).await?;
            }
            self.mark_started(std::slice::from_ref(receipt)).await
        })
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        Some(self)
    }
}

impl AtomicSettle for RedisAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        self.shared.shares_store_with(backend)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let settlements = prepare(&self.shared, batch).await?;
            settle(&self.shared, &self.state, "settle", settlements).await
        })
    }
}
