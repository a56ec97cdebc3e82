//! The greeting of workers when one starts (Celery: mingle): it says which tasks it knows to be revoked, and learns
//! what the others know. Nobody waits for it: replies are merged as they come.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlNames, ControlReply, ControlRequest, ReplyAddress};
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::broadcast::{BroadcastExchange, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::Result;
use serde::Deserialize;

use crate::control::controlled::Controlled;
use crate::control::shared_records::greeted_ids;

/// How long replies are merged, as in Celery.
const LISTEN: Duration = Duration::from_secs(1);

/// What a worker answers to `hello`.
#[derive(Debug, Deserialize)]
struct Greeting {
    #[serde(default)]
    revoked: Json,
}

/// Greets the other workers, and merges what they answer.
pub(crate) async fn mingle(controlled: &Controlled, names: &ControlNames) {
    let greeted = tokio::time::timeout(LISTEN, greet(controlled, names)).await;
    if let Ok(Err(error)) = greeted {
        tracing::debug!(error = %with_causes(&error), "could not greet the other workers");
    }
}

async fn greet(controlled: &Controlled, names: &ControlNames) -> Result<()> {
    let broker = controlled.records.broker();
    let Some(broadcast) = broker.broadcast() else { return Ok(()) };
    let caller = uuid::Uuid::new_v4().to_string();
    let exchange = BroadcastExchange::new(names.replies.clone(), ExchangeType::Direct);
    let spec = MailboxSpec::new(exchange, names.reply_queue(&caller), caller.as_str());
    let mut mailbox = broadcast.listen(spec).await?;
    let from_node = Json::from_serialize(&*controlled.node).unwrap_or(Json::NULL);
    let revoked = Json::from_serialize(&controlled.records.revoked_ids()).unwrap_or(Json::NULL);
    let arguments = vec![("from_node".to_owned(), from_node), ("revoked".to_owned(), revoked)];
    let mut request = ControlRequest::new("hello", arguments);
    request.ticket = Some(uuid::Uuid::new_v4().to_string());
    request.reply_to = Some(ReplyAddress::new(&*names.replies, caller));
    let message = request.to_message(controlled.clock.forward(), 0.0);
    let exchange = BroadcastExchange::new(names.requests.clone(), ExchangeType::Fanout);
    broadcast.send(&exchange, vec![Outgoing::new(names.requests.clone(), "".into(), message)]).await?;
    loop {
        for broadcasted in mailbox.next().await?.messages {
            let body = Json::from_bytes(broadcasted.message.body.clone());
            let reply = body.and_then(|body| ControlReply::read(&broadcasted.message, &body));
            let Ok(reply) = reply else { continue };
            controlled.clock.adjust(reply.clock.unwrap_or_default());
            // This worker answers itself with null.
            if let Ok(greeting) = reply.answer.decode::<Greeting>() {
                let new = controlled.records.merge_revoked(greeted_ids(&greeting.revoked));
                let node = &*printable_text(&reply.node);
                tracing::debug!(node, new, "another worker said which tasks are revoked");
            }
        }
    }
}
