//! The acker of the memory driver, also for whole settlements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::address::Address;
use crate::broker::settlement::{Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost};
use crate::error::Result;
use crate::memory::handle::{SCHEME, closed_error, namespace};
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::namespace::{Namespace, SharedNamespace};
use crate::memory::store::settle::{PreparedSettlement, settle};

/// Settles the deliveries of one [`MemoryConsumer`](crate::memory::MemoryConsumer).
#[derive(Debug)]
pub struct MemoryAcker {
    store: Arc<SharedNamespace>,
    closed: Arc<AtomicBool>,
    id: u64,
}

impl MemoryAcker {
    pub(crate) fn new(store: Arc<SharedNamespace>, closed: Arc<AtomicBool>, id: u64) -> Self {
        Self { store, closed, id }
    }

    /// [`Acker::ack`], called directly.
    pub fn ack_batch(&self, receipts: &[Receipt]) -> Result<()> {
        self.each("ack", |namespace, now, after_unlock, lost| {
            for receipt in receipts {
                if !namespace.settle(self.id, receipt, Acknowledgement::Ack, now, after_unlock) {
                    lost.push(receipt.clone());
                }
            }
            receipts.len()
        })
    }

    /// Runs `work` under the lock. It collects the lost receipts and returns how many receipts there were.
    fn each(
        &self,
        what: &str,
        work: impl FnOnce(&mut Namespace, Timestamp, &mut AfterUnlock, &mut Vec<Receipt>) -> usize,
    ) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed_error(what));
        }
        let (now, mut after_unlock, mut lost) = (self.store.clock.now(), AfterUnlock::default(), Vec::new());
        let all = {
            let mut namespace = self.store.lock();
            let all = work(&mut namespace, now, &mut after_unlock, &mut lost);
            namespace.has_room_again(self.id, &mut after_unlock);
            all
        };
        after_unlock.run();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(lease_lost(what, &lost, all)),
        }
    }

    fn settle_batch(&self, batch: Vec<Settlement>) -> Result<()> {
        let batch: Vec<PreparedSettlement> = batch.into_iter().map(PreparedSettlement::from).collect();
        let mut done = Ok(());
        let settled = self.each("settle", |namespace, now, after_unlock, lost| {
            let all = batch.len();
            match settle(namespace, self.id, batch, now, after_unlock) {
                Ok(receipts) => *lost = receipts,
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
            self.each("reject", |namespace, now, after_unlock, lost| {
                let all = receipts.len();
                for (receipt, how) in receipts {
                    if !namespace.settle(self.id, &receipt, Acknowledgement::Reject(how), now, after_unlock) {
                        lost.push(receipt);
                    }
                }
                all
            })
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.each("mark as started", |namespace, _, _, lost| {
                lost.extend(receipts.iter().filter(|receipt| !namespace.mark_started(self.id, receipt)).cloned());
                receipts.len()
            })
        })
    }

    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.each("mark as started", |namespace, _, _, lost| {
                namespace.unmark_all(self.id);
                if !namespace.mark_started(self.id, receipt) {
                    lost.push(receipt.clone());
                }
                1
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
