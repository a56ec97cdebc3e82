//! Settling deliveries, alone or in one transaction with their results and follow-ups.

use std::sync::Arc;

use apium_transport::address::Address;
use apium_transport::broker::settlement::{
    Acker, Acknowledgement, AtomicSettle, Disposition, Receipt, Settlement, lease_lost,
};
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;

use crate::consumer::state::Seat;
use crate::crash_points::reached;
use crate::handle::Handle;
use crate::options::{Options, SCHEME};
use crate::publish::message_row::Letter;
use crate::settle::settle;
use crate::settle::settle::Part;
use crate::store::request::Weight;
use crate::store::result_row::Record;
use crate::store::transaction::Tx;

/// Settles the deliveries of one consumer.
#[derive(Debug)]
pub(crate) struct SqliteAcker {
    handle: Handle,
    seat: Arc<Seat>,
}

impl SqliteAcker {
    pub(crate) fn new(handle: Handle, seat: Arc<Seat>) -> Self {
        Self { handle, seat }
    }

    /// Notes what was settled, and makes the error that names what was lost.
    fn settled(&self, what: &str, receipts: &[Receipt], lost: &[usize], all: usize) -> Result<()> {
        self.seat.release(receipts.iter());
        if lost.is_empty() {
            return Ok(());
        }
        let lost: Vec<Receipt> = lost.iter().filter_map(|at| receipts.get(*at)).cloned().collect();
        Err(lease_lost(what, &lost, all))
    }
}

impl Acker for SqliteAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (id, receipts) = (self.seat.id, Arc::new(receipts));
            let own = receipts.clone();
            let work = move |tx: &mut Tx<'_>| settle::ack(tx, id, own.iter());
            let lost = self.handle.writing("ack", Weight::durable(receipts.len()), work).await?;
            self.settled("ack", &receipts, &lost, receipts.len())
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let id = self.seat.id;
            let names: Vec<Receipt> = receipts.iter().map(|(receipt, _)| receipt.clone()).collect();
            let parts: Vec<(Receipt, Acknowledgement)> =
                receipts.into_iter().map(|(receipt, how)| (receipt, Acknowledgement::Reject(how))).collect();
            let work = move |tx: &mut Tx<'_>| settle::reject(tx, id, &parts);
            let lost = self.handle.writing("reject", Weight::durable(names.len()), work).await?;
            self.settled("reject", &names, &lost, names.len())
        })
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.handle.check_open("begin")?;
            let lost = self.seat.begin(receipts).map_err(|error| {
                let context = format!("note that runs begin beside {}", self.handle.address);
                Error::new(ErrorKind::Other, context).with_source(error)
            })?;
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

impl AtomicSettle for SqliteAcker {
    fn shares_store_with(&self, backend: &Address) -> bool {
        let store = &self.handle.opened.store;
        backend.scheme() == SCHEME
            && Options::read(backend, &DriverOptions::new(store.clock.clone()))
                .is_ok_and(|options| options.path == store.options.path)
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let id = self.seat.id;
            let parts: Arc<Vec<Part>> = Arc::new(batch.into_iter().map(Part::from).collect());
            let rows = parts.iter().map(Part::rows).sum();
            let own = parts.clone();
            let work = move |tx: &mut Tx<'_>| settle::settle(tx, id, &own);
            reached("before-settle");
            let lost = self.handle.writing("settle", Weight::durable(rows), work).await?;
            reached("after-settle");
            self.seat.release(parts.iter().filter_map(Part::receipt));
            if lost.is_empty() {
                return Ok(());
            }
            let all = parts.iter().filter(|part| part.delivery.is_some()).count();
            let lost: Vec<Receipt> = lost.iter().filter_map(|at| parts.get(*at)?.receipt().cloned()).collect();
            Err(lease_lost("settle", &lost, all))
        })
    }
}

impl Part {
    fn receipt(&self) -> Option<&Receipt> {
        self.delivery.as_ref().map(|(receipt, _)| receipt)
    }

    /// How much it writes, as far as it is known.
    fn rows(&self) -> usize {
        let sequel = self.sequel.as_ref().map_or(0, |sequel| sequel.opens.len() + 2 * sequel.parts.len());
        self.records.len().max(1) + self.publish.len() + sequel
    }
}

impl From<Settlement> for Part {
    fn from(settlement: Settlement) -> Self {
        let Settlement { record, mut publish, delivery, follow_ups: mut sequel, .. } = settlement;
        let mut records: Vec<_> = record.into_iter().collect();
        if let Some(sequel) = &mut sequel {
            records.append(&mut sequel.records);
            publish.append(&mut sequel.publish);
        }
        Self {
            records: records.into_iter().map(|record| Arc::new(Record::from(record))).collect(),
            publish: Letter::encode_all(publish),
            delivery,
            sequel: sequel.filter(|sequel| !sequel.is_empty()),
        }
    }
}
