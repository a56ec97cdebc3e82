//! The exchange of one command: the request is broadcast, and the replies come to a mailbox that exists for them alone.

use apium_protocol::error::with_causes;
use apium_protocol::message::control::{ControlNames, ControlReply, ControlRequest, ReplyAddress};
use apium_protocol::message::message::Message;
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Broadcasted, Mailbox, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::{Error as TransportError, Result as TransportResult};
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::app::App;
use crate::app::no_broker::{NO_BROKER, is_none};
use crate::control::addressing::Addressing;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::policy::PublishPolicy;

/// Sends one command.
pub(crate) struct Exchange<'a> {
    app: &'a App,
    broadcast: &'a dyn Broadcast,
    names: ControlNames,
    /// Whether it does no harm when the workers get the command twice.
    repeatable: bool,
}

impl<'a> Exchange<'a> {
    /// An exchange with the workers of an app's broker; `what` is what it is for.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a broker that has no broadcasts.
    pub(crate) fn of(app: &'a App, what: &str, repeatable: bool) -> Result<Self> {
        let broadcast = broadcast(app, what)?;
        Ok(Self { app, broadcast, names: ControlNames::new(&app.config().control_exchange), repeatable })
    }

    /// Broadcasts a command that nobody replies to.
    pub(crate) async fn send(&self, request: &ControlRequest, to: &Addressing) -> Result<()> {
        let message = self.message(request, to)?;
        let exchange = BroadcastExchange::new(self.names.requests.clone(), ExchangeType::Fanout);
        let out = Outgoing::new(self.names.requests.clone(), "".into(), message);
        let at = self.app.broker().address();
        let send = || self.broadcast.send(&exchange, vec![out.clone()]);
        let sent = match self.repeatable {
            true => self.app.ask(at, send).await,
            false => PublishPolicy { retry: None, ..PublishPolicy::of(self.app.config()) }.run(at, send).await,
        };
        sent.map_err(|error| self.failed(request, error))
    }

    /// Broadcasts a command and gives each reply to `on_reply`, until the wait ends.
    pub(crate) async fn ask(
        &self,
        mut request: ControlRequest,
        to: &Addressing,
        mut on_reply: impl FnMut(ControlReply),
    ) -> Result<()> {
        let (caller, ticket) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        request.reply_to = Some(ReplyAddress::new(&*self.names.replies, &*caller));
        request.ticket = Some(ticket.clone());
        let mut mailbox = self.open(&caller).await.map_err(|error| self.failed(&request, error))?;
        self.send(&request, to).await?;
        let mut missing = to.reply_limit();
        let mut deadline = Instant::now() + to.timeout;
        while missing > 0 {
            let Ok(received) = tokio::time::timeout_at(deadline, mailbox.next()).await else { break };
            let received = received.map_err(|error| self.failed(&request, error))?;
            if received.missed {
                tracing::warn!(command = %printable_text(&request.method), "replies of workers may be missing");
            }
            for message in received.messages {
                let Some(reply) = self.reply(&request.method, &ticket, &message) else { continue };
                deadline = Instant::now() + to.timeout;
                on_reply(reply);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn open(&self, caller: &str) -> TransportResult<Box<dyn Mailbox>> {
        let exchange = BroadcastExchange::new(self.names.replies.clone(), ExchangeType::Direct);
        let mut spec = MailboxSpec::new(exchange, self.names.reply_queue(caller), caller);
        spec.message_ttl = self.app.config().control_queue_ttl;
        spec.expires = self.app.config().control_queue_expires;
        self.app.ask(self.app.broker().address(), || self.broadcast.listen(spec.clone())).await
    }

    /// The message of a request, in the serializer of tasks, as in Celery.
    fn message(&self, request: &ControlRequest, to: &Addressing) -> Result<Message> {
        let (config, now) = (self.app.config(), self.app.clock().now());
        let expires = now.as_microsecond() as f64 / 1e6 + to.timeout.as_secs_f64();
        let mut message = request.to_message(self.app.lamport_clock().forward(), expires);
        self.app.codecs().reformat(&mut message, &config.task_serializer)?;
        Ok(message)
    }

    /// The reply in a message; `None` for one of another request. What cannot be read is logged.
    fn reply(&self, command: &str, ticket: &str, came: &Broadcasted) -> Option<ControlReply> {
        let message = &came.message;
        let content_type = message.properties.content_type.as_deref().unwrap_or("application/json");
        let body = self.app.codecs().decode_value(&message.body, content_type, self.app.accept());
        match body.and_then(|body| ControlReply::read(message, &body)) {
            Ok(reply) if reply.ticket.as_deref().is_some_and(|of_reply| of_reply != ticket) => None,
            Ok(reply) => {
                self.app.lamport_clock().adjust(reply.clock.unwrap_or_default());
                Some(reply)
            }
            Err(error) => {
                let command = printable_text(command);
                tracing::warn!(error = %with_causes(&error), %command, "a reply of a worker cannot be read");
                None
            }
        }
    }

    fn failed(&self, request: &ControlRequest, error: TransportError) -> Error {
        let text = format!("send the command {} to the workers of {}", request.method, self.app.broker().address());
        Error::new(ErrorKind::Publish, text).with_source(error)
    }
}

/// The broadcasts of an app's broker; `what` is what they are for.
///
/// # Errors
/// [`ErrorKind::Config`] for a broker that has none.
pub(crate) fn broadcast<'a>(app: &'a App, what: &str) -> Result<&'a dyn Broadcast> {
    app.broker().broadcast().ok_or_else(|| {
        let broker = app.broker();
        let why = match is_none(&**broker) {
            true => NO_BROKER.to_owned(),
            false => format!(
                "the broker {} has no broadcasts, which remote control and events need; use one that has them, such as \
                 redis://",
                broker.address()
            ),
        };
        let text = format!("{what}: {why}");
        Error::new(ErrorKind::Config, text)
    })
}
