//! What was sent to a task, as a test looks at it: the arguments with their types, and what else the message says.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use apium_app::app::app::App;
use apium_app::context::context::Ctx;
use apium_app::context::request::{DeliveryInfo, Request};
use apium_app::error::Result;
use apium_app::task::read_arguments::ReadArguments;
use apium_app::task_error::{TaskErrorKind, TaskResult};
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;

/// A message that was sent to a task. `T` is the task: a `#[task]` function, a task that `extern_task!` describes, or a
/// task class.
///
/// What is not a method here is one of [`request`](Self::request): what the task will see.
pub struct Sent<T> {
    id: TaskId,
    outgoing: Outgoing,
    ctx: Ctx,
    task: PhantomData<fn() -> T>,
}

impl<T> Sent<T> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it has no body that can be read.
    pub(crate) fn read(app: &App, outgoing: Outgoing) -> Result<Self> {
        let message = outgoing.message.clone();
        let invocation = app.codecs().decode(&message, app.accept())?;
        let mut from = DeliveryInfo::default();
        from.exchange = outgoing.exchange.clone();
        from.routing_key = outgoing.routing_key.clone();
        from.priority = message.properties.priority;
        from.queue = outgoing.routing_key.clone();
        let id = invocation.id().into();
        let request = Request::from_message(invocation.headers, message.properties, invocation.body, from);
        Ok(Self { id, outgoing, ctx: Ctx::for_request(request), task: PhantomData })
    }

    /// What the task will see of the message: options, workflow, headers and raw arguments.
    pub fn request(&self) -> &Request {
        self.ctx.request()
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The queue that the message was published to. For a message to an exchange, which may lead to several queues, it
    /// is the routing key.
    pub fn queue(&self) -> &str {
        &self.outgoing.routing_key
    }

    /// When it is due (`eta` and `countdown`); `None` is at once.
    pub fn eta(&self) -> Option<Timestamp> {
        self.request().eta()
    }

    /// When it expires (`expires`).
    pub fn expires(&self) -> Option<Timestamp> {
        self.request().expires()
    }

    /// Its priority.
    pub fn priority(&self) -> Option<u8> {
        self.outgoing.message.properties.priority
    }

    /// The caller's own headers.
    pub fn headers(&self) -> &BTreeMap<String, Json> {
        &self.request().headers.extra
    }

    /// The stamps.
    pub fn stamps(&self) -> &BTreeMap<String, Json> {
        &self.request().headers.stamps
    }

    /// How many retries came before: 0 for the first message.
    pub fn retries(&self) -> u32 {
        self.request().retries()
    }

    /// The message as it was published, with its exchange, routing key, headers, properties and encoded body.
    pub fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }
}

impl<T: ReadArguments> Sent<T> {
    /// The arguments, as a tuple of what `delay` and `s` take.
    ///
    /// # Panics
    /// When they do not fit the task, with the text of the `TypeError` that the task would fail with.
    #[track_caller]
    pub fn args(&self) -> T::Args {
        match self.try_args() {
            Ok(args) => args,
            Err(error) => {
                let text = match error.into_kind() {
                    TaskErrorKind::Failure(failure) => failure.exception().message(),
                    kind => format!("{kind:?}"),
                };
                panic!("could not read the arguments of a message to {}: {text}", T::NAME)
            }
        }
    }

    /// The arguments.
    ///
    /// # Errors
    /// The `TypeError` that the task would fail with.
    pub fn try_args(&self) -> TaskResult<T::Args> {
        T::read(&self.ctx)
    }
}

impl<T> Clone for Sent<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), outgoing: self.outgoing.clone(), ctx: self.ctx.clone(), task: PhantomData }
    }
}

impl<T> fmt::Debug for Sent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request();
        f.debug_struct("Sent")
            .field("task", &request.task().unwrap_or_default())
            .field("id", &self.id.as_str())
            .field("args", &request.args_json())
            .field("kwargs", &request.kwargs_json())
            .field("queue", &self.queue())
            .finish_non_exhaustive()
    }
}
