//! Calls by name (Celery: `send_task`): for tasks of other programs and other languages.

use std::future::IntoFuture;

use apium_protocol::json::Json;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::app::App;
use crate::arguments::{ArgumentWriter, Arguments};
use crate::call::Call;
use crate::error::{Error, ErrorKind, Result};
use crate::result::AsyncResult;
use crate::signature::Signature;
use crate::wire_args::IntoArguments;

impl App {
    /// A call by name. The task need not be registered here; if it is, its queue, priority and other attributes count. Nothing
    /// checks the arguments.
    pub fn sig(&self, task: impl Into<String>) -> NamedCall {
        NamedCall { app: self.clone(), signature: Signature::by_name(task, Ok(Arguments::default())) }
    }
}

/// A call by name with its app. The result is any JSON; [`cast`](Signature::cast) the signature for another type.
#[must_use = "nothing is sent until it is awaited or sent"]
#[derive(Debug)]
pub struct NamedCall {
    app: App,
    signature: Signature<Json>,
}

impl NamedCall {
    /// Adds positional arguments: a tuple.
    pub fn args(mut self, args: impl IntoArguments) -> Self {
        match args.write(ArgumentWriter::new(4)).finish() {
            Ok(arguments) => self.signature.arguments_mut().args.extend(arguments.args),
            Err(error) => self.signature.fail(error),
        }
        self
    }

    /// Adds a keyword argument.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match Json::from_serialize(&value) {
            Ok(json) => self.signature.arguments_mut().kwargs.push((name, json)),
            Err(error) => {
                let context = format!("encode the keyword argument {name}");
                self.signature.fail(Error::new(ErrorKind::Codec, context).with_source(error));
            }
        }
        self
    }

    /// Adds positional arguments that are encoded already.
    pub fn raw_args(mut self, args: impl IntoIterator<Item = Json>) -> Self {
        self.signature.arguments_mut().args.extend(args);
        self
    }

    /// Adds keyword arguments that are encoded already.
    pub fn raw_kwargs(mut self, kwargs: impl IntoIterator<Item = (String, Json)>) -> Self {
        self.signature.arguments_mut().kwargs.extend(kwargs);
        self
    }

    /// The signature alone.
    pub fn signature(self) -> Signature<Json> {
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

impl IntoFuture for NamedCall {
    type Output = Result<AsyncResult<Json>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
