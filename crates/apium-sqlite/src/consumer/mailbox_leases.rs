//! The leases of mailboxes: who listens says so from time to time, and removes the mailboxes of those who do not.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::clock::Moment;

use crate::consumer::observed_leases::{LeaseRow, ObservedLeases};
use crate::publish::broadcast::{close, purge, renew, renewals};
use crate::store::request::RequestCost;
use crate::store::store::Store;
use crate::store::transaction::Tx;

/// How long a mailbox is kept whose owner is silent.
const LEASE: Duration = Duration::from_secs(30);
/// How often mailboxes are renewed.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many expired messages are deleted each time.
const PURGED: usize = 5000;

/// When the mailboxes of this process were renewed, and what it has seen of the others.
#[derive(Debug, Default)]
pub(crate) struct MailboxLeases {
    observed: ObservedLeases,
    renewed_at: Option<Moment>,
}

impl MailboxLeases {
    /// When to renew next.
    pub(crate) fn next_renewal(&mut self, now: Moment) -> Moment {
        self.renewed_at.get_or_insert(now).saturating_add(INTERVAL)
    }

    /// Renews the mailboxes of this process, removes those of dead ones, and deletes what has expired.
    pub(crate) async fn renew(&mut self, store: &Store) {
        let now = store.clock.moment();
        self.renewed_at = Some(now);
        let mailboxes = store.waker.mailboxes.open();
        let renewing = mailboxes.clone();
        let operation = move |tx: &mut Tx<'_>| {
            for mailbox in &renewing {
                if !renew(tx, mailbox.id, &mailbox.hearing)? {
                    mailbox.set_gone();
                }
            }
            purge(tx, PURGED)?;
            renewals(tx)
        };
        let rows = match store.write("renew mailboxes", RequestCost::volatile(mailboxes.len()), operation).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "could not renew mailboxes; the next attempt follows");
                return;
            }
        };
        let rows: Vec<LeaseRow> =
            rows.iter().map(|(id, renewed)| LeaseRow { consumer: *id, until: *renewed, length: Some(LEASE) }).collect();
        for gone in self.observed.look(&rows, now, INTERVAL, LEASE) {
            let (id, renewed) = (gone.consumer, gone.until);
            let remove = move |tx: &mut Tx<'_>| close(tx, id, Some(renewed));
            match store.write("remove the mailbox of a dead process", RequestCost::volatile(1), remove).await {
                Ok(()) => tracing::debug!(mailbox = id, "removed the mailbox of a dead process"),
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "could not remove a mailbox; the next attempt follows");
                }
            }
        }
    }
}
