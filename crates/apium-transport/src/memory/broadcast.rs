//! Broadcasts of the memory driver: each mailbox is a list in this process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use crate::broker::broadcast::{Broadcast, BroadcastExchange, Broadcasted, Mailbox, MailboxSpec, Received};
use crate::broker::outgoing::Outgoing;
use crate::error::Result;
use crate::memory::broker::MemoryBroker;
use crate::memory::handle::closed_error;
use crate::memory::store::mailboxes::MailboxState;
use crate::memory::store::namespace::SharedNamespace;

/// A mailbox in this process.
#[derive(Debug)]
struct MemoryMailbox {
    store: Arc<SharedNamespace>,
    state: Arc<MailboxState>,
}

impl Mailbox for MemoryMailbox {
    fn next(&mut self) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async {
            loop {
                if self.state.closed.load(Ordering::Acquire) {
                    return Err(closed_error("listen"));
                }
                if let Some(received) = self.state.take() {
                    return Ok(received);
                }
                self.state.wake.notified().await;
            }
        })
    }
}

impl Drop for MemoryMailbox {
    fn drop(&mut self) {
        self.store.lock().mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.state));
    }
}

impl Broadcast for MemoryBroker {
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.send_counted(exchange, batch).await.map(drop) })
    }

    fn send_counted<'a>(
        &'a self,
        exchange: &'a BroadcastExchange,
        batch: Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<Option<usize>>> {
        Box::pin(async move {
            self.check_open("broadcast")?;
            let mailboxes = self.store.lock().mailboxes.clone();
            let reached =
                |mailbox: &Arc<MailboxState>, out: &Outgoing| mailbox.matches(&exchange.name, &out.routing_key);
            let last = |out: &Outgoing| mailboxes.iter().filter(|mailbox| reached(mailbox, out)).count();
            let count = batch.last().map(last);
            for mailbox in &mailboxes {
                for out in batch.iter().filter(|out| reached(mailbox, out)) {
                    mailbox.add(Broadcasted::new(out.routing_key.clone(), out.message.clone()));
                }
                mailbox.wake.notify_one();
            }
            Ok(count)
        })
    }

    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>> {
        Box::pin(async move {
            self.check_open("listen")?;
            let state = Arc::new(MailboxState::new(spec, self.closed.clone()));
            self.store.lock().mailboxes.push(state.clone());
            Ok(Box::new(MemoryMailbox { store: self.store.clone(), state }) as Box<dyn Mailbox>)
        })
    }
}
