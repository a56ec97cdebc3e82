//! Publishing: its deadline, its retry policy, and its errors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::call::batch::Batch;
use apium_app::config::retry_policy::RetryPolicy;
use apium_app::config::value::Value;
use apium_app::context::request::Request;
use apium_app::error::{Error, ErrorKind};
use apium_app::publish::layer::{PublishLayer, PublishNext};
use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::{Broker, BrokerCapabilities, SharedBroker};
use apium_transport::broker::consumer::{ConsumeSpec, Consumer};
use apium_transport::broker::dead_set::DeadSet;
use apium_transport::broker::outgoing::{Outgoing, partly_published};
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::broker::topology::Topology;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::{Error as TransportError, ErrorKind as TransportKind, Result};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::kit::{self, Add};

/// What the broker does with one publish.
#[derive(Clone, Copy)]
enum Answer {
    Refuse,
    Full,
    Never,
    /// It takes all but the messages at these indexes.
    AllBut(&'static [usize]),
}

/// A broker with scripted answers. After them it takes everything.
struct Scripted {
    address: Address,
    answers: Mutex<VecDeque<Answer>>,
    always: Option<Answer>,
    tries: AtomicUsize,
    /// The ids of the messages of each try.
    tried: Mutex<Vec<Vec<String>>>,
    atomic: bool,
}

impl Broker for Scripted {
    fn capabilities(&self) -> BrokerCapabilities {
        let mut capabilities = BrokerCapabilities::NONE;
        capabilities.atomic_publish = self.atomic;
        capabilities
    }
    fn address(&self) -> &Address {
        &self.address
    }
    fn declare<'a>(&'a self, _topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Result<()>> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let id = |outgoing: &Outgoing| outgoing.message.headers.id.as_ref().unwrap().as_str().to_owned();
        self.tried.lock().unwrap().push(batch.iter().map(id).collect());
        let answer = self.answers.lock().unwrap().pop_front().or(self.always);
        Box::pin(async move {
            match answer {
                None => Ok(()),
                Some(Answer::Refuse) => Err(TransportError::new(TransportKind::Connection, "connect: refused")),
                Some(Answer::Full) => Err(TransportError::new(TransportKind::Refused, "write: the store is full")),
                Some(Answer::Never) => std::future::pending().await,
                Some(Answer::AllBut(failed)) => {
                    let lost = TransportError::new(TransportKind::Connection, "publish: the connection is lost");
                    Err(partly_published(failed.to_vec(), batch.len(), lost))
                }
            }
        })
    }
    fn consume(&self, _spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>>> {
        Box::pin(async { Err(TransportError::new(TransportKind::Other, "consume")) })
    }
    fn queues(&self) -> Option<&dyn QueueAdmin> {
        None
    }
    fn dead(&self) -> Option<&dyn DeadSet> {
        None
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

struct ScriptedDriver(Arc<Scripted>);

impl Driver for ScriptedDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &["scripted"]
    }
    fn broker(&self, _address: Address, _options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        let broker: SharedBroker = self.0.clone();
        Box::pin(async { Ok(broker) })
    }
    fn backend(&self, _address: Address, _options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async { Err(TransportError::new(TransportKind::Other, "open")) })
    }
}

async fn scripted(
    answers: &[Answer],
    always: Option<Answer>,
    shape: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (App, Arc<Scripted>) {
    scripted_with(answers, always, true, shape).await
}

async fn scripted_with(
    answers: &[Answer],
    always: Option<Answer>,
    atomic: bool,
    shape: impl FnOnce(AppBuilder) -> AppBuilder,
) -> (App, Arc<Scripted>) {
    let address = "scripted://user:hunter2@nowhere";
    let broker = Arc::new(Scripted {
        address: Address::parse(address).unwrap(),
        answers: Mutex::new(answers.iter().copied().collect()),
        always,
        tries: AtomicUsize::new(0),
        tried: Mutex::new(Vec::new()),
        atomic,
    });
    let builder = AppBuilder::new("proj", vec![Arc::new(ScriptedDriver(broker.clone()))]).autodiscover(false);
    (shape(builder.broker(address)).register::<Add>().build().await.unwrap(), broker)
}

fn refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Publish);
    assert!(error.is_connection(), "{error:#}");
    let text = format!("{error:#}");
    assert!(text.contains("scripted://") && text.contains("@nowhere") && !text.contains("hunter2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn promise_5_publishing_to_a_silent_broker_ends_after_five_seconds() {
    let (app, broker) = scripted(&[], Some(Answer::Never), |builder| builder).await;
    let start = Instant::now();
    let error = Add::s(1, 2).send(&app).await.unwrap_err();
    refused(&error);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(broker.tries.load(Ordering::SeqCst), 1);
    let start = Instant::now();
    let call = Add::s(1, 2).publish_timeout(Duration::from_secs(1));
    refused(&call.send(&app).await.unwrap_err());
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn guide_0_77_to_0_83_publishing_is_tried_again_three_times_in_0_4_s() {
    let (app, broker) = scripted(&[], Some(Answer::Refuse), |builder| builder).await;
    let start = Instant::now();
    refused(&Add::s(1, 2).send(&app).await.unwrap_err());
    assert_eq!(broker.tries.load(Ordering::SeqCst), 4);
    assert_eq!(start.elapsed(), Duration::from_millis(400));
}

#[tokio::test(start_paused = true)]
async fn guide_0_82_a_call_has_its_own_policy() {
    let (app, broker) = scripted(&[], Some(Answer::Refuse), |builder| builder).await;
    refused(&Add::s(1, 2).retry(false).send(&app).await.unwrap_err());
    assert_eq!(broker.tries.swap(0, Ordering::SeqCst), 1);
    let policy = RetryPolicy::publish().max_retries(5).interval_start(Duration::from_millis(100));
    let start = Instant::now();
    refused(&Add::s(1, 2).retry_policy(policy).send(&app).await.unwrap_err());
    assert_eq!(broker.tries.load(Ordering::SeqCst), 6);
    assert_eq!(start.elapsed(), Duration::from_millis(100 + 4 * 200));
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_a_limit_is_tried_until_the_broker_answers() {
    let policy = Value::Table(vec![("max_retries".into(), Value::None), ("interval_max".into(), Value::Float(0.5))]);
    let shape = |builder: AppBuilder| builder.setting("task_publish_retry_policy", policy);
    // Where the retries have no limit, the deadline is for each try.
    let answers = [Answer::Refuse, Answer::Never, Answer::Refuse, Answer::Refuse, Answer::Refuse];
    let (app, broker) = scripted(&answers, None, shape).await;
    let start = Instant::now();
    Add::s(1, 2).send(&app).await.unwrap();
    assert_eq!(broker.tries.load(Ordering::SeqCst), 6);
    assert_eq!(start.elapsed(), Duration::from_millis(5_000 + 200 + 400 + 500 + 500));
    let (app, broker) = scripted(&[Answer::Refuse], None, |builder| builder.setting("task_publish_retry", false)).await;
    refused(&Add::s(1, 2).send(&app).await.unwrap_err());
    assert_eq!(broker.tries.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_has_of_a_batch_is_not_sent_again() {
    let answers = [Answer::AllBut(&[1, 2, 4]), Answer::Refuse, Answer::AllBut(&[1])];
    let (app, broker) = scripted_with(&answers, None, false, |builder| builder).await;
    let calls = ["a", "b", "c", "d", "e"].map(|id| Add::s(1, 2).task_id(id));
    Batch::of(calls).send_all(&app).await.unwrap();
    let tried = std::mem::take(&mut *broker.tried.lock().unwrap());
    assert_eq!(tried, [&["a", "b", "c", "d", "e"][..], &["b", "c", "e"], &["b", "c", "e"], &["c"]]);
}

#[tokio::test]
async fn a_refused_message_is_not_tried_again() {
    let (app, broker) = scripted(&[], Some(Answer::Full), |builder| builder).await;
    let error = Add::s(1, 2).send(&app).await.unwrap_err();
    assert!(!error.is_connection() && format!("{error:#}").contains("the store is full"), "{error:#}");
    assert_eq!(broker.tries.load(Ordering::SeqCst), 1);
}

/// Counts the messages that it sees, and the times that it is around them.
#[derive(Clone, Default)]
struct Counting(Arc<(AtomicUsize, AtomicUsize)>);

impl PublishLayer for Counting {
    fn before_publish(
        &self,
        _: &mut Outgoing,
        _: Option<&Request>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn around_publish<'a>(&'a self, publish: PublishNext<'a>) -> BoxFuture<'a, Result<()>> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        publish.run()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_passes_a_layer_once_however_often_it_is_tried() {
    let counting = Counting::default();
    let layer = counting.clone();
    let (app, broker) = scripted(&[Answer::Refuse, Answer::Refuse], None, |builder| builder.layer(layer)).await;
    Batch::of([Add::s(1, 2), Add::s(3, 4)]).send_all(&app).await.unwrap();
    assert_eq!(broker.tries.load(Ordering::SeqCst), 3);
    let Counting(counts) = counting;
    assert_eq!((counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst)), (2, 3));
}

#[tokio::test]
async fn guide_0_93_producers_come_from_a_pool_of_broker_pool_limit() {
    let builder = kit::builder().setting("broker_pool_limit", 1).setting("broker_pool_acquire_timeout", 0.01);
    let (app, sent) = kit::app_of(builder).await;
    let producer = app.producer().await.unwrap();
    Add::s(1, 2).call().producer(&producer).send(&app).await.unwrap();
    // A call without a producer does not wait for one.
    Add::s(1, 2).send(&app).await.unwrap();
    assert_eq!(sent.take().len(), 2);
    let error = app.producer().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Publish && error.to_string().contains("broker_pool_limit"), "{error}");
    drop(producer);
    app.producer().await.unwrap().publish(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn guide_0_94_without_a_limit_there_are_as_many_as_wanted() {
    let (app, _) = kit::app_of(kit::builder().setting("broker_pool_limit", Value::None)).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(app.producer().await.unwrap());
    }
    assert_eq!(held.len(), 32);
}

#[tokio::test]
async fn the_error_of_a_batch_says_when_a_part_may_be_published() {
    for (atomic, wanted) in [
        (true, "publish 2 messages to scripted://user:**@nowhere: write: the store is full"),
        (
            false,
            "publish 2 messages to scripted://user:**@nowhere (some of them may be published): write: the store is full",
        ),
    ] {
        let (app, _) = scripted_with(&[], Some(Answer::Full), atomic, |builder| builder).await;
        let calls = Batch::of([Add::s(1, 1), Add::s(2, 2)]);
        let error = calls.send_all(&app).await.unwrap_err();
        assert_eq!(format!("{error:#}"), wanted);
    }
}
