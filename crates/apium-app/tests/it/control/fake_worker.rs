//! A worker that a script plays: it hears commands, and answers as the script says.

use std::sync::{Arc, Mutex};

use apium_app::app::app::App;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlReply, ControlRequest};
use apium_protocol::message::message::Message;
use apium_transport::broker::broadcast::{BroadcastExchange, Broadcasted, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use tokio::task::JoinHandle;

/// The node that it plays.
pub(crate) const NODE: &str = "w1@wirespec";

/// What it heard: the message and the request in it.
pub(crate) type Heard = Arc<Mutex<Vec<(Message, ControlRequest)>>>;

/// A worker that a script plays, until it is dropped.
pub(crate) struct FakeWorker {
    heard: Heard,
    task: JoinHandle<()>,
}

impl FakeWorker {
    /// Listens from now on, and answers each request with these messages.
    pub(crate) async fn start(
        app: &App,
        answers: impl Fn(&ControlRequest) -> Vec<Message> + Send + Sync + 'static,
    ) -> Self {
        let (app, heard) = (app.clone(), Heard::default());
        let exchange = BroadcastExchange::new("celery.pidbox", ExchangeType::Fanout);
        let spec = MailboxSpec::new(exchange, format!("{NODE}.celery.pidbox"), "");
        let mut mailbox = app.broker().broadcast().unwrap().listen(spec).await.unwrap();
        let record = heard.clone();
        let task = tokio::runtime::Handle::current().spawn(async move {
            while let Ok(received) = mailbox.next().await {
                for Broadcasted { message, .. } in received.messages {
                    let body = app.codecs().decode_value(
                        &message.body,
                        message.properties.content_type.as_deref().unwrap(),
                        app.accept(),
                    );
                    let request = ControlRequest::from_json(body.unwrap().as_bytes()).unwrap();
                    record.lock().unwrap().push((message, request.clone()));
                    let Some(reply_to) = &request.reply_to else { continue };
                    let exchange = BroadcastExchange::new(&*reply_to.exchange, ExchangeType::Direct);
                    let out = |message| Outgoing::new(exchange.name.clone(), (&*reply_to.routing_key).into(), message);
                    let batch = answers(&request).into_iter().map(out).collect();
                    app.broker().broadcast().unwrap().send(&exchange, batch).await.unwrap();
                }
            }
        });
        Self { heard, task }
    }

    /// One that answers everything with this JSON.
    pub(crate) async fn answering(app: &App, answer: &'static str) -> Self {
        Self::start(app, move |request| vec![reply(request, NODE, answer)]).await
    }

    /// The requests that it heard, the first first.
    pub(crate) fn requests(&self) -> Vec<ControlRequest> {
        self.heard.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// The messages that it heard.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.heard.lock().unwrap().iter().map(|(message, _)| message.clone()).collect()
    }

    /// Waits until it has heard so many.
    pub(crate) async fn wait_for(&self, count: usize) {
        while self.heard.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The reply of a node to a request.
pub(crate) fn reply(request: &ControlRequest, node: &str, answer: &str) -> Message {
    ControlReply::message(node, &Json::from_text(answer).unwrap(), request.ticket.as_deref(), 3)
}
