//! A signature: a call that is not sent yet. Its type says what the task returns.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use apium_protocol::signature::Signature as WireSignature;

use crate::arguments::Arguments;
use crate::call_options::CallOptions;
use crate::error::{Error, Result};
use crate::prepare::CallSpec;
use crate::setters::{IntoWireSignature, call_options};
use crate::task::TaskDef;
use crate::wire_options::wire_options;

/// A task with arguments and options, not sent yet. `T` is what the task returns. A value that could not be encoded is an
/// error when it is sent.
#[must_use = "a signature does nothing until it is sent"]
pub struct Signature<T> {
    task: Cow<'static, str>,
    arguments: Arguments,
    options: CallOptions,
    immutable: bool,
    def: Option<&'static TaskDef>,
    by_name: bool,
    failed: Option<Arc<Error>>,
    output: PhantomData<fn() -> T>,
}

impl<T> Signature<T> {
    /// A signature of a task of this program.
    pub fn new(task: impl Into<Cow<'static, str>>, arguments: Result<Arguments>) -> Self {
        let (arguments, failed) = match arguments {
            Ok(arguments) => (arguments, None),
            Err(error) => (Arguments::default(), Some(Arc::new(error))),
        };
        Self {
            task: task.into(),
            arguments,
            options: CallOptions::default(),
            immutable: false,
            def: None,
            by_name: false,
            failed,
            output: PhantomData,
        }
    }

    /// A signature of a `#[task]` function; the attribute makes them.
    pub fn of_def(def: &'static TaskDef, arguments: Result<Arguments>) -> Self {
        Self { def: Some(def), ..Self::new(def.name, arguments) }
    }

    /// A signature of a task that may live elsewhere (Celery: `send_task`, `signature("name")`).
    pub fn by_name(task: impl Into<String>, arguments: Result<Arguments>) -> Self {
        Self { by_name: true, ..Self::new(task.into(), arguments) }
    }

    /// The same signature with another type of result.
    pub fn cast<U>(self) -> Signature<U> {
        Signature {
            task: self.task,
            arguments: self.arguments,
            options: self.options,
            immutable: self.immutable,
            def: self.def,
            by_name: self.by_name,
            failed: self.failed,
            output: PhantomData,
        }
    }

    /// Whether the result of the task before is not put in front of the arguments, where this follows another task.
    pub fn immutable(mut self, immutable: bool) -> Self {
        self.immutable = immutable;
        self
    }

    /// The task's name.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The arguments.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    pub(crate) fn arguments_mut(&mut self) -> &mut Arguments {
        &mut self.arguments
    }

    /// The options.
    pub fn options(&self) -> &CallOptions {
        &self.options
    }

    /// The options, to be changed.
    pub fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }

    /// Notes the first thing that went wrong.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    pub(crate) fn check(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(Error::new(error.kind(), format!("call {}: {error}", self.task))),
            None => Ok(()),
        }
    }

    pub(crate) fn into_spec(self) -> Result<CallSpec> {
        self.check()?;
        let Self { task, arguments, options, def, by_name, .. } = self;
        Ok(CallSpec { task, arguments, options, def, by_name })
    }

    /// The signature as it travels in messages.
    ///
    /// # Errors
    /// A value that could not be encoded.
    pub fn to_wire(&self) -> Result<WireSignature> {
        self.check()?;
        Ok(WireSignature {
            task: Arc::from(&*self.task),
            args: self.arguments.args.clone(),
            kwargs: self.arguments.kwargs.clone(),
            options: wire_options(&self.options)?,
            subtask_type: None,
            immutable: self.immutable,
            extra: BTreeMap::new(),
        })
    }
}

call_options!(T, Signature<T>);

impl<T> IntoWireSignature for Signature<T> {
    fn into_wire(self) -> Result<WireSignature> {
        self.to_wire()
    }
}

impl<T> Clone for Signature<T> {
    fn clone(&self) -> Self {
        Self {
            task: self.task.clone(),
            arguments: self.arguments.clone(),
            options: self.options.clone(),
            immutable: self.immutable,
            def: self.def,
            by_name: self.by_name,
            failed: self.failed.clone(),
            output: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Signature<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let args = apium_protocol::repr::args_repr(&self.arguments.args);
        let kwargs = apium_protocol::repr::kwargs_repr(&self.arguments.kwargs);
        write!(f, "{}{args} {kwargs}", self.task)
    }
}
