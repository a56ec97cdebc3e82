//! Results from a backend that stores none: like Celery's `rpc://`, it delivers each result once, to the caller of the
//! task.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::error::ErrorKind;
use apium_app::result::async_result::AsyncResult;
use apium_app::result::result_set::ResultSet;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::address::Address;
use apium_transport::backend::backend::{
    BackendCapabilities, GroupStore, ResultBackend, ResultRecord, ResultStream, SharedBackend, StoreResult,
    StoredResults,
};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;
use apium_transport::memory::MemoryDriver;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use crate::kit::{self, Add, Sent};

/// The states that were delivered and not watched yet, by task.
struct Mailbox {
    arrived: Mutex<HashMap<TaskId, VecDeque<ResultDocument>>>,
    changed: watch::Sender<()>,
}

impl Mailbox {
    fn new() -> Arc<Self> {
        Arc::new(Self { arrived: Mutex::default(), changed: watch::Sender::new(()) })
    }

    fn next_of(&self, ids: &[TaskId]) -> Option<ResultDocument> {
        let mut arrived = self.arrived.lock().unwrap();
        ids.iter().find_map(|id| arrived.get_mut(id)?.pop_front())
    }
}

/// A result backend that delivers results with a `reply_to` and stores none.
struct Delivering {
    address: Address,
    mailbox: Arc<Mailbox>,
}

impl ResultBackend for Delivering {
    fn capabilities(&self) -> BackendCapabilities {
        let mut capabilities = BackendCapabilities::NONE;
        capabilities.every_state = true;
        capabilities
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn store(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<Vec<StoreResult>>> {
        let mut arrived = self.mailbox.arrived.lock().unwrap();
        let deliver = |record: ResultRecord| match record.reply_to {
            Some(_) => {
                arrived.entry(record.document.task_id.clone()).or_default().push_back(record.document);
                StoreResult::Written
            }
            None => StoreResult::Refused,
        };
        let stored = records.into_iter().map(deliver).collect();
        self.mailbox.changed.send_replace(());
        Box::pin(async move { Ok(stored) })
    }

    fn watch(&self, ids: Vec<TaskId>) -> BoxFuture<'_, Result<ResultStream>> {
        let (mailbox, changed) = (self.mailbox.clone(), self.mailbox.changed.subscribe());
        let states = stream::unfold((mailbox, changed, ids), |(mailbox, mut changed, mut ids)| async move {
            while !ids.is_empty() {
                if let Some(document) = mailbox.next_of(&ids) {
                    ids.retain(|id| !(document.state.is_ready() && *id == document.task_id));
                    return Some((Ok(document), (mailbox, changed, ids)));
                }
                changed.changed().await.ok()?;
            }
            None
        });
        Box::pin(async move { Ok(states.boxed()) })
    }

    fn stored(&self) -> Option<&dyn StoredResults> {
        None
    }

    fn groups(&self) -> Option<&dyn GroupStore> {
        None
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// The memory driver's broker, and a result backend that delivers.
struct DeliveringDriver(MemoryDriver);

impl Driver for DeliveringDriver {
    fn schemes(&self) -> &'static [&'static str] {
        self.0.schemes()
    }

    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>> {
        self.0.broker(address, options)
    }

    fn backend(&self, address: Address, _: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>> {
        Box::pin(async move { Ok(Arc::new(Delivering { address, mailbox: Mailbox::new() }) as SharedBackend) })
    }
}

async fn app() -> (App, Sent) {
    let builder = apium_app::builder::AppBuilder::new("proj", vec![Arc::new(DeliveringDriver(MemoryDriver::new()))]);
    kit::app_of(builder.autodiscover(false).broker("memory://").backend("memory://").clock(kit::clock())).await
}

/// Calls the task, and returns its result with the place that its message names for replies.
async fn called(app: &App, sent: &Sent) -> (AsyncResult<i64>, Option<Arc<str>>) {
    let result = Add::s(2, 2).send(app).await.unwrap();
    (result, sent.one().message.properties.reply_to)
}

/// Stores a state as a worker would.
async fn store(app: &App, id: &TaskId, reply_to: Option<Arc<str>>, state: &str, result: &str) {
    let document = ResultDocument::new(id.clone(), State::from(state), Json::from_text(result).unwrap());
    let mut record = ResultRecord::new(document);
    record.reply_to = reply_to;
    assert_eq!(app.backend().unwrap().store(vec![record]).await.unwrap(), [StoreResult::Written]);
}

fn value_error() -> String {
    ExceptionInfo::from_path("builtins.ValueError", "boom").to_json().to_string()
}

#[tokio::test]
async fn get_returns_a_value_that_is_delivered_while_it_waits() {
    let (app, sent) = app().await;
    let (result, reply_to) = called(&app, &sent).await;
    let states = Arc::new(Mutex::new(Vec::new()));
    let seen = states.clone();
    let get = result.get().on_message(move |document| seen.lock().unwrap().push(document.state.to_string()));
    let deliver = async {
        store(&app, result.id(), reply_to.clone(), "STARTED", "null").await;
        tokio::task::yield_now().await;
        store(&app, result.id(), reply_to.clone(), "SUCCESS", "4").await;
    };
    let (value, ()) = tokio::join!(get, deliver);
    assert_eq!(value.unwrap(), 4);
    let states = states.lock().unwrap();
    assert_eq!(states.len(), 2);
    assert!(states[0].contains("STARTED") && states[1].contains("SUCCESS"), "{states:?}");
}

#[tokio::test]
async fn a_value_that_was_delivered_before_the_get_is_returned_once() {
    let (app, sent) = app().await;
    let (result, reply_to) = called(&app, &sent).await;
    let none = result.get().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Timeout);
    store(&app, result.id(), reply_to, "SUCCESS", "4").await;
    assert_eq!(result.get().timeout(Duration::ZERO).await.unwrap(), 4);
    // This result and its clones have the value now. Another result of the same id does not get it.
    assert_eq!(result.clone().get().await.unwrap(), 4);
    assert!(result.ready().await.unwrap());
    let other = app.result::<i64>(result.id().clone());
    assert_eq!(other.get().timeout(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn get_returns_a_delivered_failure_as_an_error() {
    let (app, sent) = app().await;
    let (result, reply_to) = called(&app, &sent).await;
    store(&app, result.id(), reply_to, "FAILURE", &value_error()).await;
    let error = result.get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
    assert!(error.to_string().contains("boom"), "{error}");
}

#[tokio::test]
async fn reading_from_a_backend_that_stores_nothing_is_an_error() {
    let (app, sent) = app().await;
    let (result, reply_to) = called(&app, &sent).await;
    let set = ResultSet::new(&app, [result.clone()]);
    for error in [
        result.state().await.unwrap_err(),
        result.abort().await.unwrap_err(),
        result.progress().await.unwrap_err(),
        set.states().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
        assert!(error.to_string().contains("stores none"), "{error}");
    }
    result.forget().await.unwrap();
    store(&app, result.id(), reply_to, "SUCCESS", "4").await;
    assert_eq!(result.get().await.unwrap(), 4);
}

#[tokio::test]
async fn sets_and_trees_wait_for_deliveries() {
    let (app, sent) = app().await;
    let (one, reply_to) = called(&app, &sent).await;
    let (two, _) = called(&app, &sent).await;
    let set = ResultSet::new(&app, [one.clone(), two.clone()]);
    let deliver = async {
        store(&app, two.id(), reply_to.clone(), "SUCCESS", "2").await;
        tokio::task::yield_now().await;
        store(&app, one.id(), reply_to.clone(), "SUCCESS", "1").await;
    };
    let (values, ()) = tokio::join!(set.get(), deliver);
    assert_eq!(values.unwrap(), [1, 2]);
    let tree: Vec<Json> = one.collect().await.unwrap().into_iter().map(|(_, value)| value).collect();
    assert_eq!(tree, [Json::from_text("1").unwrap()]);
}
