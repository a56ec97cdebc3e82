//! Calls by name (Celery: `send_task`): for tasks of other programs and other languages.

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
    /// A call by name. The task need not be registered here; if it is, its queue, priority and other attributes count.
    /// Nothing checks the arguments.
    pub fn sig(&self, task: impl Into<String>) -> NamedCall {
        NamedCall { app: self.clone(), signature: Signature::by_name(task, Ok(Arguments::default())) }
    }
}

/// A call by name with its app. The result is any JSON, and it stands behind anything; [`cast`](Signature::cast) the
/// signature for other types.
#[must_use = "nothing is sent until it is awaited or sent"]
#[derive(Debug)]
pub struct NamedCall {
    app: App,
    signature: Signature<Anything, Json>,
}

impl NamedCall {
    /// Adds positional arguments: a tuple.
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

    /// The task with each item as its only argument, in one message; see [`map`](map::map()). Arguments and options
    /// given before are not those of the items.
    pub fn map(self, items: impl IntoIterator<Item: Serialize>) -> Signature<Anything, Vec<Json>> {
        map::map(self.signature.task().to_owned(), items)
    }

    /// The task with each item as its arguments, in one message; see [`starmap`](map::starmap).
    pub fn starmap(self, items: impl IntoIterator<Item: IntoArguments>) -> Signature<Anything, Vec<Json>> {
        map::starmap(self.signature.task().to_owned(), items.into_iter().map(written))
    }

    /// The task with each item as its arguments, `size` of them in a message; see [`chunks`](map::chunks).
    pub fn chunks(self, items: impl IntoIterator<Item: IntoArguments>, size: usize) -> Group<Anything, Vec<Json>> {
        map::chunks(self.signature.task().to_owned(), items.into_iter().map(written), size)
    }

    /// The signature alone.
    pub fn signature(self) -> Signature<Anything, Json> {
        self.signature
    }

    /// The call, to add options.
    pub fn call(self) -> Call<Json> {
        self.signature.call()
    }

    /// Sends it.
    ///
    /// # Errors
    /// As [`Call::send`].
    pub async fn send(self) -> Result<AsyncResult<Json>> {
        self.signature.send(&self.app).await
    }

    /// Sends it from plain code.
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
