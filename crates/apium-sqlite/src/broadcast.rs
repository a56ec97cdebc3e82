//! Broadcasts: rows that each listener reads on from where it was. The doorbell tells other processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::value::printable::printable;
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Broadcasted, Mailbox, MailboxSpec, Received};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use rusqlite::Connection;

use crate::broker::SqliteBroker;
use crate::handle::Handle;
use crate::publish::broadcast::{Heard, Hearing, StoredBroadcast, close, insert, is_heard, open, read};
use crate::publish::message_row::EncodedMessage;
use crate::store::request::RequestCost;
use crate::store::transaction::Tx;
use crate::wake::mailboxes::OwnMailbox;

const SEND: &str = "broadcast";
const LISTEN: &str = "listen to a broadcast";
/// The pause after an error that may pass.
const TROUBLE_PAUSE: Duration = Duration::from_millis(250);

/// A mailbox.
#[derive(Debug)]
struct SqliteMailbox {
    handle: Handle,
    state: Arc<OwnMailbox>,
    capacity: usize,
    cursor: i64,
    missed: bool,
}

impl SqliteMailbox {
    /// Takes what was read.
    fn take(&mut self, heard: Heard) -> Option<Received> {
        self.cursor = heard.cursor;
        self.missed |= heard.missed | self.state.was_gone.swap(false, Ordering::AcqRel);
        let messages: Vec<Broadcasted> =
            heard.messages.into_iter().filter_map(|message| decoded(&self.state.hearing, message)).collect();
        (!messages.is_empty()).then(|| Received::new(messages, std::mem::take(&mut self.missed)))
    }
}

/// The message of a row. One that cannot be read is left out.
fn decoded(hearing: &Hearing, stored: StoredBroadcast) -> Option<Broadcasted> {
    let StoredBroadcast { routing_key, headers, properties, body } = stored;
    match (Headers::from_json(&headers), Properties::from_json(&properties)) {
        (Ok(headers), Ok(properties)) => {
            Some(Broadcasted::new(routing_key, Message::new(properties, headers, body.into())))
        }
        (Err(error), _) | (_, Err(error)) => {
            let exchange = printable(&hearing.exchange);
            tracing::warn!(%exchange, error = %with_causes(&error), "left out what came by a broadcast and is no message");
            None
        }
    }
}

impl Mailbox for SqliteMailbox {
    fn next(&mut self) -> BoxFuture<'_, Result<Received>> {
        Box::pin(async {
            loop {
                let (hearing, cursor, capacity) = (self.state.hearing.clone(), self.cursor, self.capacity);
                let reading = move |conn: &Connection, now| read(conn, now, &hearing, cursor, capacity);
                match self.handle.read(LISTEN, reading).await {
                    Ok(heard) => {
                        let (before, is_empty) = (self.cursor, heard.messages.is_empty());
                        if let Some(received) = self.take(heard) {
                            return Ok(received);
                        }
                        if !is_empty && self.cursor > before {
                            // What cannot be read was left out, and there may be more.
                            continue;
                        }
                    }
                    Err(error) if error.is_retryable() => {
                        tokio::select! {
                            () = self.state.notify.notified() => {}
                            () = tokio::time::sleep(TROUBLE_PAUSE) => {}
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                self.state.notify.notified().await;
            }
        })
    }
}

impl Drop for SqliteMailbox {
    fn drop(&mut self) {
        let id = self.state.id;
        let operation = move |tx: &mut Tx<'_>| close(tx, id, None);
        self.handle.file.store.write_detached("close a mailbox", RequestCost::volatile(1), operation);
    }
}

impl Broadcast for SqliteBroker {
    fn send<'a>(&'a self, exchange: &'a BroadcastExchange, batch: Vec<Outgoing>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (handle, name) = (self.handle(), exchange.name.clone());
            // Reading holds up nobody. Most events have no listener.
            let is_heard = handle.read(SEND, move |conn, _| is_heard(conn, &name)).await?;
            if !is_heard || batch.is_empty() {
                return Ok(());
            }
            let (name, messages) = (exchange.name.clone(), EncodedMessage::encode_all(batch));
            let cost = RequestCost::volatile(messages.len());
            handle.write(SEND, cost, move |tx: &mut Tx<'_>| insert(tx, &name, &messages)).await
        })
    }

    fn listen(&self, spec: MailboxSpec) -> BoxFuture<'_, Result<Box<dyn Mailbox>>> {
        Box::pin(async move {
            let handle = self.handle();
            handle.check_open(LISTEN)?;
            handle.file.start_maintenance().await?;
            let hearing = Hearing {
                exchange: spec.exchange.name,
                kind: spec.exchange.kind,
                binding: spec.binding,
                ttl: i64::try_from(spec.message_ttl.as_micros()).unwrap_or(i64::MAX),
            };
            let opening = hearing.clone();
            let operation = move |tx: &mut Tx<'_>| open(tx, &opening);
            let (id, cursor) = handle.write(LISTEN, RequestCost::volatile(1), operation).await?;
            let state = OwnMailbox::new(id, hearing);
            handle.file.store.waker.add_mailbox(&state);
            let capacity = spec.capacity;
            Ok(Box::new(SqliteMailbox { handle: handle.clone(), state, capacity, cursor, missed: false })
                as Box<dyn Mailbox>)
        })
    }
}
