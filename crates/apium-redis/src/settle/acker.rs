//! Settles the deliveries of one consumer.

use std::sync::Arc;

use crate::consumer::heartbeat::renew_in_flight;
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::settle::settle;
use crate::settle::settle::PreparedSettlement;
use crate::shared::BrokerShared;
use apium_transport::address::Address;
use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost,
};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

/// The acker of a consumer.
#[derive(Debug)]
pub(crate) struct RedisAcker {
    pub(crate) shared: Arc<BrokerShared>,
    pub(crate) state: Arc<ConsumerState>,
}

impl Acker for RedisAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends = receipts.into_iter().map(|receipt| of_delivery(receipt, Acknowledgement::Ack)).collect();
            settle::settle(&self.shared, &self.state, "ack", ends).await
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends =
                receipts.into_iter().map(|(receipt, how)| of_delivery(receipt, Acknowledgement::Reject(how))).collect();
            settle::settle(&self.shared, &self.state, "reject", ends).await
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sorted = self.state.look_up(receipts.iter().cloned());
            let mut lost = sorted.lost;
            for part in sorted.owned.chunks(settle::MAX_DELIVERIES) {
                let tags: Vec<(&str, bool)> = part.iter().map(|(_, tag, _)| (tag.as_str(), true)).collect();
                reached("before-begin");
                let gone = renew_in_flight(&self.shared, "note that runs begin", &tags).await?;
                reached("after-begin");
                self.state.mark_started(part.iter().map(|(number, ..)| *number));
                let gone: Vec<_> = gone.into_iter().filter_map(|place| part.get(place)).collect();
                self.state.remove(gone.iter().map(|(number, ..)| *number));
                lost.extend(gone.iter().map(|(number, _, held)| ConsumerState::receipt(*number, held)));
            }
            match lost.is_empty() {
                true => Ok(()),
                false => Err(lease_lost("begin", &lost, receipts.len())),
            }
        })
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        Some(self)
    }
}

fn of_delivery(receipt: Receipt, how: Acknowledgement) -> PreparedSettlement {
    PreparedSettlement { delivery: Some((receipt, how)), ..PreparedSettlement::default() }
}

impl AtomicSettle for RedisAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        self.shared.shares_store_with(backend)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends = settle::prepare(&self.shared, batch).await?;
            settle::settle(&self.shared, &self.state, "settle", ends).await
        })
    }
}
