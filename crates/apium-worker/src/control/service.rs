//! The loop of remote control: it takes requests out of the mailbox of the node, has each done, and replies.
//!
//! Commands are done one after the other inside the loop, and never wait. What waits for a store runs beside it, and so
//! do replies on their way; how many of these there are at once is bounded.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apium_app::config::table::Config;
use apium_protocol::error::with_causes;
use apium_protocol::message::control::{ControlNames, ControlRequest};
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::broadcast::{BroadcastExchange, Broadcasted, Mailbox, MailboxSpec, Received};
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::control::commands::dispatch::answer;
use crate::control::controlled::{Answer, Controlled};
use crate::control::mingle::mingle;
use crate::control::python_error::PythonError;
use crate::control::reply::{OutgoingReply, ReplyTo, ReplyWriter, send_all};
use crate::control::requests::Requests;
use crate::pipeline::complete::outage::Outage;
use crate::pool::guard::{Panicked, guarded};
use crate::service::Stopping;

/// How many commands and batches of replies are on their way at once.
const MOST_BESIDE: usize = 64;
/// How many requests are done before other tasks of the runtime get a turn.
const YIELD_AFTER: usize = 32;
/// How long a worker that stops waits for commands and replies that are on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What runs beside the loop.
type Beside = FuturesUnordered<BoxFuture<'static, ()>>;

/// Remote control of one worker.
pub(crate) struct ControlService {
    pub(crate) controlled: Arc<Controlled>,
    pub(crate) requests: Requests,
    pub(crate) replies: ReplyWriter,
    pub(crate) names: ControlNames,
    pub(crate) spec: MailboxSpec,
    /// Whether it greets the other workers when it starts.
    pub(crate) mingles: bool,
}

/// The mailbox of a node's requests.
pub(crate) fn mailbox_spec(names: &ControlNames, node: &str, config: &Config) -> MailboxSpec {
    let exchange = BroadcastExchange::new(names.requests.clone(), ExchangeType::Fanout);
    let mut spec = MailboxSpec::new(exchange, names.node_queue(node), "");
    spec.message_ttl = config.control_queue_ttl;
    spec.expires = config.control_queue_expires;
    spec
}

impl ControlService {
    /// Opens the mailbox; `None` where the broker has no broadcasts.
    pub(crate) async fn open(&self) -> Result<Option<Box<dyn Mailbox>>> {
        match self.controlled.records.broker().broadcast() {
            Some(broadcast) => broadcast.listen(self.spec.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Does what is asked, until it is told to stop. Without a mailbox it opens one first.
    pub(crate) async fn serve(self, mailbox: Option<Box<dyn Mailbox>>, mut stopping: Stopping) {
        let mut beside = Beside::new();
        let greeting = async {
            if self.mingles {
                mingle(&self.controlled, &self.names).await;
            }
        };
        tokio::select! {
            biased;
            () = stopping.wait() => {}
            _ = async { tokio::join!(greeting, self.listen(mailbox, &mut beside)) } => {}
        }
        let finished = async { while beside.next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_TIMEOUT, finished).await;
    }

    async fn listen(&self, mut mailbox: Option<Box<dyn Mailbox>>, beside: &mut Beside) {
        let mut outage = Outage::default();
        loop {
            let began = tokio::time::Instant::now();
            let error = match &mut mailbox {
                Some(open) => self.take_requests(&mut **open, beside, &mut outage).await,
                None => match self.open().await {
                    Ok(Some(open)) => {
                        mailbox = Some(open);
                        self.reload(beside);
                        continue;
                    }
                    Ok(None) => return std::future::pending().await,
                    Err(error) => error,
                },
            };
            if error.is_final() {
                // The fetching loop says that the broker is closed for good, and the worker stops.
                return std::future::pending().await;
            }
            mailbox = None;
            let pause = outage.pause(&error, began);
            if outage.warns() {
                tracing::warn!(error = %with_causes(&error), "could not listen to remote control; trying again until it works");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Does requests until the mailbox fails.
    async fn take_requests(
        &self,
        mailbox: &mut dyn Mailbox,
        beside: &mut Beside,
        outage: &mut Outage,
    ) -> apium_transport::error::Error {
        loop {
            while beside.len() >= MOST_BESIDE {
                beside.next().await;
            }
            let received = tokio::select! {
                biased;
                Some(()) = beside.next(), if !beside.is_empty() => continue,
                received = mailbox.next() => received,
            };
            let Received { messages, missed, .. } = match received {
                Ok(received) => received,
                Err(error) => return error,
            };
            *outage = Outage::default();
            if missed {
                tracing::warn!("commands of remote control may have been missed; revokes and pauses are read again");
                self.reload(beside);
            }
            self.do_all(messages, beside).await;
        }
    }

    /// Reads again what all workers share, beside the loop.
    fn reload(&self, beside: &mut Beside) {
        let records = self.controlled.records.clone();
        beside.push(Box::pin(async move { records.load_until_read().await }));
    }

    async fn do_all(&self, messages: Vec<Broadcasted>, beside: &mut Beside) {
        let broker = self.controlled.records.broker();
        let mut replies = Vec::new();
        for (index, broadcasted) in messages.into_iter().enumerate() {
            if index % YIELD_AFTER == YIELD_AFTER - 1 {
                if !replies.is_empty() {
                    beside.push(Box::pin(send_all(broker.clone(), std::mem::take(&mut replies))));
                }
                while beside.len() >= MOST_BESIDE {
                    beside.next().await;
                }
                tokio::task::yield_now().await;
            }
            if let Some(request) = self.requests.read(&broadcasted.message) {
                self.do_one(request, &mut replies, beside);
            }
        }
        if !replies.is_empty() {
            beside.push(Box::pin(send_all(broker.clone(), replies)));
        }
    }

    /// Does one request.
    fn do_one(&self, request: ControlRequest, replies: &mut Vec<OutgoingReply>, beside: &mut Beside) {
        let method = request.method.clone();
        let reply_to = request.reply_to.clone().map(|address| ReplyTo { address, ticket: request.ticket.clone() });
        tracing::debug!(method = &*printable_text(&method), replies = reply_to.is_some(), "a control command");
        let controlled = &self.controlled;
        let answer =
            guarded(|| answer(controlled, request)).unwrap_or_else(|panicked| Answer::Reply(crashed(&panicked)));
        match (answer, reply_to) {
            (Answer::Nothing, _) | (Answer::Reply(_), None) => {}
            (Answer::Reply(answer), Some(to)) => {
                replies.push(self.replies.write(&to, &answer));
            }
            (Answer::Later(later), to) => {
                let (writer, broker) = (self.replies.clone(), controlled.records.broker().clone());
                beside.push(Box::pin(async move {
                    let answer = AssertUnwindSafe(later).catch_unwind().await;
                    let answer = answer.unwrap_or_else(|panic| crashed(&Panicked::of(&*panic)));
                    let Some(to) = to else { return };
                    send_all(broker, vec![writer.write(&to, &answer)]).await;
                }));
            }
        }
    }
}

/// The reply of a command that panicked.
fn crashed(panicked: &Panicked) -> apium_protocol::json::text::Json {
    tracing::error!("a control command {panicked}");
    PythonError::new("RuntimeError", &format!("the command {panicked}")).into_reply()
}
