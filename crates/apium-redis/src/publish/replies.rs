//! Replies: a direct exchange, whose mailboxes are lists as kombu makes them. A binding names the list for the id of a
//! caller. Whoever drops a mailbox deletes list and binding. Of callers that die without that, the list expires, and
//! the binding is removed when somebody opens a mailbox.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::message::envelope::encode;
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result;
use redis::Pipeline;

use crate::connection::background::Background;
use crate::publish::publish::fresh_tag;
use crate::publish::reply_lists::ReplyList;
use crate::scripts::script::{OPEN_REPLIES, REPLY};
use crate::shared::BrokerShared;

/// How many replies wait for a caller at most; then the oldest go.
const MOST_REPLIES: usize = 10_000;
/// How long replies wait for their caller after the last of them (kombu: `x-message-ttl` of the queues for replies).
const REPLY_TTL: Duration = Duration::from_secs(300);
/// How long a mailbox is taken for open after it was renewed last.
const OPEN_FOR: Duration = Duration::from_secs(1800);
/// How often an open mailbox is renewed.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(300);
/// How long kombu keeps the bindings of queues that expire, at least.
const KOMBU_KEEPS: Duration = Duration::from_secs(3600);
/// How many replies are sent by one command.
const BATCH: usize = 100;
/// How long closing a broker waits for the deletion of mailboxes.
const CLOSING: Duration = Duration::from_secs(1);

impl BrokerShared {
    /// Sends replies. Those that nobody waits for are dropped.
    pub(crate) async fn reply(&self, exchange: &BroadcastExchange, batch: &[Outgoing]) -> Result<()> {
        let bindings = self.keys.binding(&exchange.name);
        for batch in batch.chunks(BATCH) {
            let replies: Vec<(String, Vec<u8>)> = batch
                .iter()
                .map(|outgoing| {
                    let (key, mut envelope) = (&*outgoing.routing_key, Vec::new());
                    encode(&outgoing.message, &exchange.name, key, &fresh_tag(), &mut envelope);
                    (format!("{key}.{}", exchange.name), envelope)
                })
                .collect();
            self.connection
                .script("reply", &REPLY, |command| {
                    command.arg(1).arg(&bindings).arg(self.keys.separator()).arg(self.keys.prefix());
                    command.arg(MOST_REPLIES).arg(millis(REPLY_TTL));
                    for (outgoing, (queue, envelope)) in batch.iter().zip(&replies) {
                        command.arg(&*outgoing.routing_key).arg(queue).arg(envelope);
                    }
                })
                .await?;
        }
        Ok(())
    }

    /// Opens a mailbox for replies.
    pub(crate) async fn open_replies(&self, list: &Arc<ReplyList>) -> Result<()> {
        let _changing = self.replies.changing.lock().await;
        self.delete_those_dropped().await?;
        self.bind_replies(list, true).await?;
        self.replies.lock().open.push(list.clone());
        Ok(())
    }

    /// Says that a mailbox is still open, and writes its binding again if the server has lost it.
    pub(crate) async fn renew_replies(&self, list: &ReplyList) -> Result<()> {
        self.bind_replies(list, false).await
    }

    async fn bind_replies(&self, list: &ReplyList, is_new: bool) -> Result<()> {
        let keys = &self.keys;
        self.connection
            .script("open a mailbox", &OPEN_REPLIES, |command| {
                command.arg(4).arg(keys.binding(&list.exchange)).arg(keys.binding_deadlines());
                command.arg(keys.mailboxes()).arg(list.list());
                command.arg(&*list.exchange).arg(&list.binding).arg(list.name(keys)).arg(keys.separator());
                command.arg(keys.prefix()).arg(keys.binding("")).arg(millis(OPEN_FOR)).arg(millis(KOMBU_KEEPS));
                command.arg(u8::from(is_new));
            })
            .await
            .map(drop)
    }

    /// Deletes a mailbox that was dropped, in the background.
    pub(crate) fn drop_replies(self: &Arc<Self>, list: &Arc<ReplyList>) {
        {
            let mut lists = self.replies.lock();
            let before = lists.open.len();
            lists.open.retain(|other| !Arc::ptr_eq(other, list));
            if lists.open.len() == before {
                // Closing its broker has deleted it.
                return;
            }
            lists.dropped.push(list.clone());
        }
        if tokio::runtime::Handle::try_current().is_err() {
            // The next mailbox deletes it, or closing the broker.
            return;
        }
        let shared = self.clone();
        let deleting = Background::start(async move {
            let _changing = shared.replies.changing.lock().await;
            if let Err(error) = shared.delete_those_dropped().await {
                tracing::debug!(error = %with_causes(&error), "could not delete a mailbox; it expires");
            }
        });
        let mut lists = self.replies.lock();
        lists.deleting.retain(|earlier| !earlier.is_finished());
        lists.deleting.push(deleting);
    }

    /// Deletes all mailboxes, before the broker is closed.
    pub(crate) async fn close_replies(&self) {
        let is_needed = {
            let mut lists = self.replies.lock();
            let open = std::mem::take(&mut lists.open);
            lists.dropped.extend(open);
            !lists.dropped.is_empty()
        };
        if !is_needed {
            return;
        }
        let deletion = async {
            let _changing = self.replies.changing.lock().await;
            self.delete_those_dropped().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(CLOSING, deletion).await {
            tracing::debug!(error = %with_causes(&error), "could not delete the mailboxes of a broker; they expire");
        }
    }

    async fn delete_those_dropped(&self) -> Result<()> {
        let dropped = std::mem::take(&mut self.replies.lock().dropped);
        if dropped.is_empty() {
            return Ok(());
        }
        let deletion = self.deletion(&dropped);
        let deleted = self.connection.pipeline("delete a mailbox", &deletion).await;
        if deleted.is_err() {
            self.replies.lock().dropped.extend(dropped);
        }
        deleted.map(drop)
    }

    fn deletion(&self, dropped: &[Arc<ReplyList>]) -> Pipeline {
        // No transaction: a server whose memory is full refuses those.
        let mut pipeline = redis::pipe();
        for list in dropped {
            pipeline.cmd("SREM").arg(self.keys.binding(&list.exchange)).arg(&list.binding).ignore();
            pipeline.cmd("ZREM").arg(self.keys.mailboxes()).arg(list.name(&self.keys)).ignore();
            pipeline.cmd("DEL").arg(&list.lists).ignore();
        }
        pipeline
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
