//! Calls by name (Celery: `send_task`), for tasks of other programs and other languages.

use std::future::IntoFuture;

use apium_protocol::json::text::Json;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::app::app::App;
use crate::call::call::Call;
use crate::error::Result;
use crate::result::async_result::AsyncResult;
use crate::signature::fits::Anything;
use crate::signature::group::Group;
use crate::signature::map;
use crate::signature::signature::Signature;
use crate::task::arguments::{ArgumentWriter, Arguments};
use crate::task::into_arguments::IntoArguments;

impl App {
    /// A call of a task by its name. The task need not be registered in this app. If it is, its queue, its priority and
    /// its other options apply. The arguments are not checked.
    pub fn sig(&self, task: impl Into<String>) -> NamedCall {
        NamedCall { app: self.clone(), signature: Signature::by_name(task, Ok(Arguments::default())) }
    }
}

/// A call by name, with its app. Its value is any JSON, and it takes any value from the task before it. For other
/// types, [`cast`](Signature::cast) its [`signature`](Self::signature).
#[must_use = "nothing is sent until it is awaited, or `send` is called"]
#[derive(Debug)]
pub struct NamedCall {
    app: App,
    signature: Signature<Anything, Json>,
}

impl NamedCall {
    /// Adds positional arguments, given as a tuple.
    pub fn args(mut self, args: impl IntoArguments) -> Self {
        match args.write(ArgumentWriter::new(4)).finish() {
            Ok(arguments) => self.raw_args(arguments.args),
            Err(error) => {
                self.signature.fail(error);
                self
            }
        }
    }

    /// Adds a keyword argument.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.signature = self.signature.kwarg(name.into(), value);
        self
    }

    /// Adds positional arguments that are encoded already.
    pub fn raw_args(mut self, args: impl IntoIterator<Item = Json>) -> Self {
        let mut args = Some(args);
        self.signature
            .node_mut()
            .each_first(&mut |task| task.call.arguments.args.extend(args.take().into_iter().flatten()));
        self
    }

    /// Adds keyword arguments that are encoded already.
    pub fn raw_kwargs(mut self, kwargs: impl IntoIterator<Item = (String, Json)>) -> Self {
        let mut kwargs = Some(kwargs);
        self.signature
            .node_mut()
            .each_first(&mut |task| task.call.arguments.kwargs.extend(kwargs.take().into_iter().flatten()));
        self
    }

    /// One message that runs the task for each item, with the item as its only argument; see [`map`](map::map()). The
    /// arguments and options that were set before are not used.
    pub fn map(self, items: impl IntoIterator<Item: Serialize>) -> Signature<Anything, Vec<Json>> {
        map::map(self.signature.task().to_owned(), items)
    }

    /// One message that runs the task for each item, a tuple of arguments; see [`starmap`](map::starmap). The arguments
    /// and options that were set before are not used.
    pub fn starmap(self, items: impl IntoIterator<Item: IntoArguments>) -> Signature<Anything, Vec<Json>> {
        map::starmap(self.signature.task().to_owned(), items.into_iter().map(written))
    }

    /// As [`starmap`](Self::starmap), with `size` items in each message; see [`chunks`](map::chunks).
    pub fn chunks(self, items: impl IntoIterator<Item: IntoArguments>, size: usize) -> Group<Anything, Vec<Json>> {
        map::chunks(self.signature.task().to_owned(), items.into_iter().map(written), size)
    }

    /// The call as a signature, without the app.
    pub fn signature(self) -> Signature<Anything, Json> {
        self.signature
    }

    /// The call as a [`Call`], which has methods for options.
    pub fn call(self) -> Call<Json> {
        self.signature.call()
    }

    /// Sends it through its app.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub async fn send(self) -> Result<AsyncResult<Json>> {
        self.signature.send(&self.app).await
    }

    /// Sends it through its app, and waits for that on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub fn send_blocking(self) -> Result<AsyncResult<Json>> {
        self.signature.send_blocking(&self.app)
    }
}

fn written(item: impl IntoArguments) -> Result<Arguments> {
    item.write(ArgumentWriter::new(4)).finish()
}

impl IntoFuture for NamedCall {
    type Output = Result<AsyncResult<Json>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
