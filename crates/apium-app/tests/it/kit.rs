//! What the tests share: a task, an app on the memory driver, a layer that records what was published.

use std::sync::{Arc, Mutex};

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::context::context::{Ctx, CtxParts};
use apium_app::context::limit_signal::LimitSignal;
use apium_app::context::request::{DeliveryInfo, Request};
use apium_app::context::store_waits::StoreWaits;
use apium_app::options::task_options::TaskOptions;
use apium_app::publish::layer::{PublishLayer, PublishNext};
use apium_app::signature::signature::Signature;
use apium_app::task::arguments::{ArgumentWriter, Parameter, ParameterList};
use apium_app::task::definition::{Hooks, TaskDef, TaskFn, TaskType};
use apium_protocol::json::text::Json;
use apium_protocol::message::body::Body;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::properties::Properties;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::clock::Clock;
use apium_transport::error::Result as TransportResult;
use apium_transport::memory::MemoryDriver;
use futures_util::future::BoxFuture;

/// `tasks.add(x, y)`.
pub(crate) struct Add;

pub(crate) static ADD: TaskDef = TaskDef {
    name: "tasks.add",
    aliases: &["add_v1"],
    parameters: ParameterList {
        function: "add",
        named: &[Parameter::required("x"), Parameter::required("y")],
        var_args: false,
        var_kwargs: false,
    },
    options: || TaskOptions::NEW,
    hooks: Hooks::NONE,
    needs: &[],
    takes_ctx: false,
    run: TaskFn::Blocking(|_| Ok(Json::NULL)),
    location: "kit.rs:1",
};

impl TaskType for Add {
    type Output = i64;
    type Args = (i64, i64);

    fn def() -> &'static TaskDef {
        &ADD
    }
}

impl Add {
    pub(crate) fn s(x: i64, y: i64) -> Signature<(), i64> {
        Signature::of_def(&ADD, ArgumentWriter::new(2).arg(&x).arg(&y).finish())
    }
}

/// A layer that records every message.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<Outgoing>>>);

impl Sent {
    pub(crate) fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn one(&self) -> Outgoing {
        let mut sent = self.take();
        assert_eq!(sent.len(), 1, "one message was to be sent");
        sent.remove(0)
    }
}

impl PublishLayer for Sent {
    fn around_publish<'a>(&'a self, publish: PublishNext<'a>) -> BoxFuture<'a, TransportResult<()>> {
        self.0.lock().unwrap().extend(publish.messages().iter().cloned());
        publish.run()
    }
}

/// The clock of the captured messages.
pub(crate) fn clock() -> Clock {
    Clock::manual("2030-01-02T03:04:05.678901Z".parse().unwrap())
}

/// A builder with broker and result backend in memory.
pub(crate) fn builder() -> AppBuilder {
    builder_without_backend().backend("memory://")
}

/// A builder with a broker in memory and without a result backend.
pub(crate) fn builder_without_backend() -> AppBuilder {
    AppBuilder::new("proj", vec![Arc::new(MemoryDriver::new())]).autodiscover(false).broker("memory://").clock(clock())
}

/// An app with the task `add`, and the messages that it sends.
pub(crate) async fn app_of(builder: AppBuilder) -> (App, Sent) {
    let sent = Sent::default();
    let app = builder.register::<Add>().layer(sent.clone()).build().await.unwrap();
    (app, sent)
}

pub(crate) async fn app() -> (App, Sent) {
    app_of(builder()).await
}

/// The context of a run of `add` with this id.
pub(crate) fn running(app: &App, id: &str, root: Option<&str>, priority: u8) -> Ctx {
    let mut headers = Headers::default();
    headers.id = Some(id.into());
    headers.root_id = root.map(TaskId::from);
    let mut properties = Properties::default();
    properties.priority = Some(priority);
    let request = Request::from_message(headers, properties, Body::default(), DeliveryInfo::default());
    Ctx::new(CtxParts {
        request: Arc::new(request),
        task: app.registry().get("tasks.add").unwrap().clone(),
        publisher: app.publisher().clone(),
        backend: app.backend().cloned(),
        states: app.states().clone(),
        limits: LimitSignal::never(),
        run: None,
        waits: StoreWaits::default(),
    })
}

/// Stores a state as a worker would.
pub(crate) async fn store(app: &App, id: &TaskId, state: &str, result: &str) {
    let document = ResultDocument::new(id.clone(), State::from(state), Json::from_text(result).unwrap());
    app.backend().unwrap().store(vec![ResultRecord::new(document)]).await.unwrap();
}
