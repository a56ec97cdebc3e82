//! Settles the deliveries of one consumer.

use std::sync::Arc;

use crate::consumer::heartbeat::touch;
use crate::consumer::state::Seat;
use crate::crash_points::reached;
use crate::settle::settle;
use crate::settle::settle::End;
use crate::shared::Core;
use apium_transport::address::Address;
use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost,
};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;

/// The acker of a consumer.
#[derive(Debug)]
pub(crate) struct RedisAcker {
    pub(crate) core: Arc<Core>,
    pub(crate) seat: Arc<Seat>,
}

impl Acker for RedisAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends = receipts.into_iter().map(|receipt| ended(receipt, Acknowledgement::Ack)).collect();
            settle::settle(&self.core, &self.seat, "ack", ends).await
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends =
                receipts.into_iter().map(|(receipt, how)| ended(receipt, Acknowledgement::Reject(how))).collect();
            settle::settle(&self.core, &self.seat, "reject", ends).await
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sorted = self.seat.sort(receipts.iter().cloned());
            let mut lost = sorted.lost;
            for part in sorted.ours.chunks(settle::MOST) {
                let tags: Vec<(&str, bool)> = part.iter().map(|(_, tag, _)| (tag.as_str(), true)).collect();
                reached("before-begin");
                let gone = touch(&self.core, "note that runs begin", &tags).await?;
                reached("after-begin");
                self.seat.begun(part.iter().map(|(number, ..)| *number));
                let gone: Vec<_> = gone.into_iter().filter_map(|place| part.get(place)).collect();
                self.seat.settled(gone.iter().map(|(number, ..)| *number));
                lost.extend(gone.iter().map(|(number, _, held)| Seat::receipt(*number, held)));
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

fn ended(receipt: Receipt, how: Acknowledgement) -> End {
    End { delivery: Some((receipt, how)), ..End::default() }
}

impl AtomicSettle for RedisAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        self.core.shares_store_with(backend)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ends = settle::prepare(&self.core, batch).await?;
            settle::settle(&self.core, &self.seat, "settle", ends).await
        })
    }
}
