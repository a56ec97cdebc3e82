//! A caller of remote control.

use std::time::Duration;

use apium_app::app::app::App;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlReply, ControlRequest, ReplyAddress};
use apium_protocol::message::message::Message;
use apium_transport::broker::broadcast::{Broadcast, BroadcastExchange, Mailbox, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use serde_json::Value;

const REQUESTS: &str = "celery.pidbox";
const REPLIES: &str = "reply.celery.pidbox";
const PATIENCE: Duration = Duration::from_secs(60);

fn broadcast(app: &App) -> &dyn Broadcast {
    app.broker().broadcast().expect("the broker has broadcasts")
}

/// Opens the mailbox of the replies to a caller.
pub(super) async fn replies_to(app: &App, caller: &str) -> Box<dyn Mailbox> {
    let exchange = BroadcastExchange::new(REPLIES, ExchangeType::Direct);
    let spec = MailboxSpec::new(exchange, format!("{caller}.{REPLIES}"), caller);
    broadcast(app).listen(spec).await.unwrap()
}

/// Broadcasts messages as requests.
pub(super) async fn send_messages(app: &App, messages: Vec<Message>) {
    let exchange = BroadcastExchange::new(REQUESTS, ExchangeType::Fanout);
    let batch = messages.into_iter().map(|message| Outgoing::new(REQUESTS.into(), "".into(), message)).collect();
    broadcast(app).send(&exchange, batch).await.unwrap();
}

/// A request with these arguments, a map.
pub(super) fn request(method: &str, arguments: &Value) -> ControlRequest {
    let arguments = arguments.as_object().expect("a map of arguments");
    let arguments = arguments.iter().map(|(name, value)| (name.clone(), Json::from_serialize(value).unwrap()));
    ControlRequest::new(method, arguments.collect())
}

/// Sends a request that nobody answers.
pub(super) async fn cast(app: &App, method: &str, arguments: Value) {
    send_messages(app, vec![request(method, &arguments).to_message(1, 0.0)]).await;
}

/// The next replies.
pub(super) async fn next_replies(mailbox: &mut dyn Mailbox) -> Vec<ControlReply> {
    let received = tokio::time::timeout(PATIENCE, mailbox.next()).await.expect("a reply comes").unwrap();
    let read = |message: &Message| {
        let body = Json::from_bytes(message.body.clone()).unwrap();
        ControlReply::read(message, &body).unwrap()
    };
    received.messages.iter().map(|broadcasted| read(&broadcasted.message)).collect()
}

/// Calls a command of one worker, and returns what it answers.
pub(super) async fn call(app: &App, method: &str, arguments: Value) -> Value {
    call_with(app, request(method, &arguments)).await
}

/// As [`call`], with a request of one's own.
pub(super) async fn call_with(app: &App, mut request: ControlRequest) -> Value {
    let caller = uuid::Uuid::new_v4().to_string();
    let mut mailbox = replies_to(app, &caller).await;
    request.ticket = Some("t1".to_owned());
    request.reply_to = Some(ReplyAddress::new(REPLIES, caller));
    send_messages(app, vec![request.to_message(1, 0.0)]).await;
    let replies = next_replies(&mut *mailbox).await;
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert_eq!(replies[0].ticket.as_deref(), Some("t1"));
    replies[0].answer.decode().unwrap()
}
