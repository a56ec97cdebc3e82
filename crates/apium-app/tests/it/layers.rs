//! Layers of publishing: what a caller sends passes through them once, before it is sent.

use std::sync::{Arc, Mutex};

use apium_app::app::app::App;
use apium_app::call::batch::Batch;
use apium_app::canvas::node::{IntoNode, Node};
use apium_app::canvas::send::send;
use apium_app::context::current;
use apium_app::context::request::Request;
use apium_app::error::{Error, ErrorKind};
use apium_app::publish::layer::{PublishLayer, PublishNext};
use apium_protocol::json::text::Json;
use apium_protocol::message::message::Message;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::error::Result as TransportResult;
use futures_util::future::BoxFuture;

use crate::kit::{self, Add, Sent};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What layers have seen.
type Notes = Arc<Mutex<Vec<String>>>;

fn taken(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap())
}

/// Notes its name and the parent of each message, and its name around each batch.
struct Noting(&'static str, Notes);

impl PublishLayer for Noting {
    fn before_publish(&self, message: &mut Outgoing, parent: Option<&Request>) -> Result<(), BoxError> {
        let parent = parent.and_then(Request::id).map_or("none", |id| id.as_str());
        let headers = &mut message.message.headers;
        self.1.lock().unwrap().push(format!(
            "{} before, parent {parent}, seen {:?}",
            self.0,
            headers.extra.get("seen")
        ));
        headers.extra.insert("seen".into(), Json::from_serialize(self.0)?);
        Ok(())
    }

    fn around_publish<'a>(&'a self, publish: PublishNext<'a>) -> BoxFuture<'a, TransportResult<()>> {
        Box::pin(async move {
            self.1.lock().unwrap().push(format!("{} begins {}", self.0, publish.messages().len()));
            publish.run().await?;
            self.1.lock().unwrap().push(format!("{} ends", self.0));
            Ok(())
        })
    }
}

/// Refuses calls whose first argument is 13, and gives 7 another id.
struct Superstitious;

impl PublishLayer for Superstitious {
    fn before_publish(&self, message: &mut Outgoing, _: Option<&Request>) -> Result<(), BoxError> {
        let headers = &mut message.message.headers;
        match headers.argsrepr.as_deref() {
            Some(args) if args.starts_with("(13,") => Err("13 brings bad luck".into()),
            Some(args) if args.starts_with("(7,") => {
                headers.id = Some("lucky".into());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// An app with [`Superstitious`], and what it sent.
async fn superstitious() -> (App, Sent) {
    kit::app_of(kit::builder().layer(Superstitious)).await
}

fn refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Publish);
    let text = format!("{error:#}");
    assert!(text.starts_with("publish tasks.add["), "{text}");
    assert!(text.ends_with("]: a layer refuses it: 13 brings bad luck"), "{text}");
}

#[tokio::test]
async fn the_first_layer_is_the_outermost_and_a_message_knows_the_task_that_sends_it() {
    let notes = Notes::default();
    let builder = kit::builder().layer(Noting("one", notes.clone())).layer(Noting("two", notes.clone()));
    let (app, sent) = kit::app_of(builder).await;
    Add::s(1, 2).send(&app).await.unwrap();
    let around = ["one begins 1", "two begins 1", "two ends", "one ends"];
    let wanted = ["one before, parent none, seen None", "two before, parent none, seen Some(\"one\")"];
    assert_eq!(taken(&notes), [&wanted[..], &around[..]].concat());
    assert_eq!(sent.one().message.headers.extra["seen"].as_str(), "\"two\"");
    let running = kit::running(&app, "parent", None, 0);
    current::scope(running, Add::s(1, 2).send(&app)).await.unwrap();
    let seen = taken(&notes);
    assert!(seen[0].starts_with("one before, parent parent") && seen[1].starts_with("two before, parent parent"));
}

#[tokio::test]
async fn a_refused_message_is_not_sent_and_nothing_with_it() {
    let (app, sent) = superstitious().await;
    refused(&Add::s(13, 0).send(&app).await.unwrap_err());
    refused(&Batch::of([Add::s(1, 1), Add::s(13, 0)]).send_all(&app).await.unwrap_err());
    refused(&send(&app, Node::group([node(1), node(13)])).await.unwrap_err());
    assert_eq!(sent.take().len(), 0);
    Add::s(1, 1).send(&app).await.unwrap();
    assert_eq!(sent.take().len(), 1);
}

#[tokio::test]
async fn a_chord_whose_header_is_refused_is_not_opened() {
    let (app, sent) = superstitious().await;
    let of_id = |mut header: Node, id: &str| {
        header.options_mut().task_id = Some(id.into());
        header
    };
    let chords = app.backend().unwrap().chords().unwrap();
    for (x, id, is_open) in [(13, "refused", false), (14, "sent", true)] {
        let header = of_id(Node::group([node(1), node(x)]), id);
        let outcome = send(&app, header.pipe(node(0))).await;
        assert_eq!((outcome.is_ok(), chords.count(id).await.unwrap().is_some()), (is_open, is_open));
    }
    assert_eq!(sent.take().len(), 2);
}

#[tokio::test]
async fn the_id_of_a_task_stays() {
    let (app, sent) = superstitious().await;
    let error = Add::s(7, 0).send(&app).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Publish && error.to_string().contains("changed the id"), "{error}");
    assert_eq!(sent.take().len(), 0);
}

/// Sends everything to the queue `elsewhere`, with a priority.
struct Elsewhere;

impl PublishLayer for Elsewhere {
    fn before_publish(&self, message: &mut Outgoing, _: Option<&Request>) -> Result<(), BoxError> {
        message.routing_key = "elsewhere".into();
        message.message.properties.priority = Some(6);
        Ok(())
    }
}

#[tokio::test]
async fn a_layer_may_send_a_message_to_another_queue_with_another_priority() {
    let (app, sent) = kit::app_of(kit::builder().layer(Elsewhere)).await;
    Add::s(1, 2).queue("here").send(&app).await.unwrap();
    // A message that a program has made itself passes, too.
    let own = Outgoing::to_queue("here", Message::default());
    app.publisher().publish(vec![own.clone()]).await.unwrap();
    app.producer().await.unwrap().publish(vec![own]).await.unwrap();
    for message in sent.take() {
        assert_eq!((&*message.routing_key, message.message.properties.priority), ("elsewhere", Some(6)));
    }
    let stats = app.broker().queues().unwrap().counts().unwrap().stats().await.unwrap();
    let ready = stats.iter().map(|queue| (&*queue.queue, queue.ready)).collect::<Vec<_>>();
    assert_eq!(ready, [("elsewhere", 3)]);
}

fn node(x: i64) -> Node {
    IntoNode::into_node(Add::s(x, 0)).unwrap()
}
