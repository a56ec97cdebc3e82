//! Settling deliveries of the memory driver, alone or together with results and follow-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::address::Address;
use crate::broker::consumer::{Acker, AtomicSettle, Disposition, Receipt, Settle, Settlement, lease_lost};
use crate::error::Result;
use crate::memory::handle::closed;
use crate::memory::handle::{SCHEME, namespace};
use crate::memory::store::after_unlock::Later;
use crate::memory::store::namespace::{Store, World};
use crate::memory::store::settle;
use crate::memory::store::settle::Prepared;

/// Settles the deliveries of one [`MemoryConsumer`](crate::memory::MemoryConsumer).
#[derive(Debug)]
pub struct MemoryAcker {
    store: Arc<Store>,
    closed: Arc<AtomicBool>,
    id: u64,
}

impl MemoryAcker {
    pub(crate) fn new(store: Arc<Store>, closed: Arc<AtomicBool>, id: u64) -> Self {
        Self { store, closed, id }
    }

    /// [`Acker::ack`], called directly.
    pub fn ack_batch(&self, receipts: &[Receipt]) -> Result<()> {
        self.each("ack", |world, now, later, lost| {
            for receipt in receipts {
                if !world.settle(self.id, receipt, Settle::Ack, now, later) {
                    lost.push(receipt.clone());
                }
            }
            receipts.len()
        })
    }

    /// Runs `work` under the lock; it names the lost receipts and says how many there were at all.
    fn each(
        &self,
        what: &str,
        work: impl FnOnce(&mut World, Timestamp, &mut Later, &mut Vec<Receipt>) -> usize,
    ) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(what));
        }
        let (now, mut later, mut lost) = (self.store.clock.now(), Later::default(), Vec::new());
        let all = {
            let mut world = self.store.lock();
            let all = work(&mut world, now, &mut later, &mut lost);
            world.has_room_again(self.id, &mut later);
            all
        };
        later.run();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(lease_lost(what, &lost, all)),
        }
    }

    fn settle_batch(&self, batch: Vec<Settlement>) -> Result<()> {
        let batch: Vec<Prepared> = batch.into_iter().map(Prepared::from).collect();
        let mut done = Ok(());
        let settled = self.each("settle", |world, now, later, lost| {
            let all = batch.len();
            match settle::settle(world, self.id, batch, now, later) {
                Ok(named) => *lost = named,
                Err(error) => done = Err(error),
            }
            all
        });
        done.and(settled)
    }
}

impl Acker for MemoryAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.ack_batch(&receipts) })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.each("reject", |world, now, later, lost| {
                let all = receipts.len();
                for (receipt, how) in receipts {
                    if !world.settle(self.id, &receipt, Settle::Reject(how), now, later) {
                        lost.push(receipt);
                    }
                }
                all
            })
        })
    }

    fn begin<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.each("begin", |world, _, _, lost| {
                lost.extend(receipts.iter().filter(|receipt| !world.begin(self.id, receipt)).cloned());
                receipts.len()
            })
        })
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        Some(self)
    }
}

impl AtomicSettle for MemoryAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        backend.scheme() == SCHEME && namespace(backend) == self.store.name
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.settle_batch(batch) })
    }
}
