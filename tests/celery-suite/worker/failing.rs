//! Tasks that fail or reject their message, and their errors.

use std::fmt;

use apium::prelude::*;

/// Python's `ValueError`.
#[wire_error(py = "builtins.ValueError", args = &self.0)]
#[derive(Debug)]
pub(crate) struct ValueError(pub(crate) Vec<Json>);

/// The error of `fail`, which keeps the arguments that the task had.
#[wire_error(py = "t.integration.tasks.ExpectedException", args = &self.0)]
#[derive(Debug)]
pub(crate) struct ExpectedException(pub(crate) Vec<Json>);

/// An error whose class needs one argument more than the exception has.
#[wire_error(py = "t.integration.tasks.UnpickleableException", args = (&self.foo,))]
#[derive(Debug)]
pub(crate) struct UnpickleableException {
    pub(crate) foo: Json,
}

macro_rules! errors {
    ($($error:ident: $text:literal),+) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl std::error::Error for $error {}
    )+};
}
errors!(
    ValueError: "a value that is refused",
    ExpectedException: "the task was expected to fail",
    UnpickleableException: "an error that Python cannot pickle"
);

/// A text as the argument of an exception.
fn text(text: &str) -> Json {
    Json::from_value(&Value::Str(text.to_owned()))
}

#[task(name = "t.integration.tasks.raise_error")]
pub(crate) async fn raise_error(_args: Args) -> Result<Value, ValueError> {
    Err(ValueError(vec![text("deliberate error")]))
}

#[task(name = "t.integration.tasks.fail")]
pub(crate) async fn fail(args: Args) -> Result<Value, ExpectedException> {
    let first = text("Task expected to fail");
    Err(ExpectedException([first].into_iter().chain(args.iter().cloned()).collect()))
}

#[task(name = "t.integration.tasks.fail_unpickleable")]
pub(crate) async fn fail_unpickleable(foo: Json, _bar: Json) -> Result<(), UnpickleableException> {
    Err(UnpickleableException { foo })
}

#[task(name = "t.integration.tasks.return_exception")]
pub(crate) async fn return_exception(e: Value) -> (Value, bool) {
    (e, true)
}

#[task(name = "t.integration.tasks.store_success_then_reject", acks_late)]
pub(crate) async fn store_success_then_reject(ctx: &Ctx) -> TaskResult<String> {
    if ctx.request().delivery_info.redelivered {
        return Ok("dedup-pass".to_owned());
    }
    ctx.update_state("SUCCESS", "first-pass").await?;
    Err(TaskError::reject(true))
}

#[task(name = "t.integration.tasks.reject_then_succeed", acks_late)]
pub(crate) async fn reject_then_succeed(ctx: &Ctx) -> TaskResult<String> {
    match ctx.request().delivery_info.redelivered {
        true => Ok("second-pass".to_owned()),
        false => Err(TaskError::reject(true)),
    }
}

#[task(name = "t.integration.tasks.reject_without_requeue")]
pub(crate) async fn reject_without_requeue() -> TaskResult<()> {
    Err(TaskError::reject_because("rejected", false))
}
