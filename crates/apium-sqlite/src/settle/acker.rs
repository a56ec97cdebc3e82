//! The acker: settles deliveries, alone or in one transaction with their results and follow-ups.

use std::io;
use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost,
};
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, Result};
use futures_util::future::BoxFuture;

use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::errors::kind_of_file_error;
use crate::handle::Handle;
use crate::options::{FileOptions, SCHEME};
use crate::publish::message_row::EncodedMessage;
use crate::settle::settle;
use crate::settle::settle::EncodedSettlement;
use crate::store::request::RequestCost;
use crate::store::result_row::ResultRow;
use crate::store::transaction::Tx;

/// Settles the deliveries of one consumer.
#[derive(Debug)]
pub(crate) struct SqliteAcker {
    handle: Handle,
    state: Arc<ConsumerState>,
}

impl SqliteAcker {
    pub(crate) fn new(handle: Handle, state: Arc<ConsumerState>) -> Self {
        Self { handle, state }
    }

    /// Removes the receipts from those in flight. Returns the error that names the lost ones, if there are any.
    fn after_settling(&self, what: &str, receipts: &[Receipt], lost: &[usize], all: usize) -> Result<()> {
        self.state.remove_in_flight(receipts.iter());
        if lost.is_empty() {
            return Ok(());
        }
        let lost: Vec<Receipt> = lost.iter().filter_map(|at| receipts.get(*at)).cloned().collect();
        Err(lease_lost(what, &lost, all))
    }
}

impl SqliteAcker {
    /// Marks runs of these deliveries as started, by `mark`, which returns those that are not in flight.
    fn mark(&self, receipts: &[Receipt], mark: impl FnOnce() -> io::Result<Vec<Receipt>>) -> Result<()> {
        self.handle.check_open("start runs")?;
        let lost = mark().map_err(|error| {
            let context = format!("write the started runs to the lock file beside {}", self.handle.address);
            Error::new(kind_of_file_error(&error), context).with_source(error)
        })?;
        match lost.is_empty() {
            true => Ok(()),
            false => Err(lease_lost("start", &lost, receipts.len())),
        }
    }
}

impl Acker for SqliteAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, receipts) = (self.state.id, Arc::new(receipts));
            let own = receipts.clone();
            let operation = move |tx: &mut Tx<'_>| settle::ack(tx, id, own.iter());
            let lost = self.handle.write("ack", RequestCost::durable(receipts.len()), operation).await?;
            self.after_settling("ack", &receipts, &lost, receipts.len())
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let id = self.state.id;
            let names: Vec<Receipt> = receipts.iter().map(|(receipt, _)| receipt.clone()).collect();
            let rejected: Vec<(Receipt, Acknowledgement)> =
                receipts.into_iter().map(|(receipt, how)| (receipt, Acknowledgement::Reject(how))).collect();
            let operation = move |tx: &mut Tx<'_>| settle::reject(tx, id, &rejected);
            let lost = self.handle.write("reject", RequestCost::durable(names.len()), operation).await?;
            self.after_settling("reject", &names, &lost, names.len())
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.mark(receipts, || self.state.mark_started(receipts)) })
    }

    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let receipts = std::slice::from_ref(receipt);
            self.mark(receipts, || {
                self.state.unmark_all()?;
                self.state.mark_started(receipts)
            })
        })
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        Some(self)
    }
}

impl AtomicSettle for SqliteAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        let store = &self.handle.file.store;
        backend.scheme() == SCHEME
            && FileOptions::read(backend, &DriverOptions::new(store.clock.clone()))
                .is_ok_and(|options| options.path == store.options.path)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let id = self.state.id;
            let settlements: Arc<Vec<EncodedSettlement>> =
                Arc::new(batch.into_iter().map(EncodedSettlement::from).collect());
            let rows = settlements.iter().map(EncodedSettlement::rows).sum();
            let own = settlements.clone();
            let operation = move |tx: &mut Tx<'_>| settle::settle(tx, id, &own);
            reached("before-settle");
            let lost = self.handle.write("settle", RequestCost::durable(rows), operation).await?;
            reached("after-settle");
            self.state.remove_in_flight(settlements.iter().filter_map(EncodedSettlement::receipt));
            if lost.is_empty() {
                return Ok(());
            }
            let all = settlements.iter().filter(|settlement| settlement.delivery.is_some()).count();
            let lost: Vec<Receipt> = lost.iter().filter_map(|at| settlements.get(*at)?.receipt().cloned()).collect();
            Err(lease_lost("settle", &lost, all))
        })
    }
}

impl EncodedSettlement {
    fn receipt(&self) -> Option<&Receipt> {
        self.delivery.as_ref().map(|(receipt, _)| receipt)
    }

    /// About how many rows it writes. What follows a chord is not known yet.
    fn rows(&self) -> usize {
        let chords =
            self.follow_ups.as_ref().map_or(0, |follow_ups| follow_ups.opens.len() + 2 * follow_ups.parts.len());
        self.records.len().max(1) + self.publish.len() + chords
    }
}

impl From<Settlement> for EncodedSettlement {
    fn from(settlement: Settlement) -> Self {
        let Settlement { record, mut publish, delivery, mut follow_ups, .. } = settlement;
        let mut records: Vec<_> = record.into_iter().map(|record| *record).collect();
        if let Some(follow_ups) = &mut follow_ups {
            records.append(&mut follow_ups.records);
            publish.append(&mut follow_ups.publish);
        }
        Self {
            records: records.into_iter().map(|record| Arc::new(ResultRow::from(record))).collect(),
            publish: EncodedMessage::encode_all(publish),
            delivery,
            follow_ups: follow_ups.filter(|follow_ups| !follow_ups.is_empty()),
        }
    }
}
