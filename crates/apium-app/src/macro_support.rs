//! What the code refers to that the attributes of `apium-macros` generate. It is not an API: anything may change.

pub use apium_protocol::error::Result as ProtocolResult;
pub use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
pub use futures_util::future::BoxFuture;
#[cfg(feature = "autodiscover")]
pub use inventory;

pub use crate::call::batch::Batch;
pub use crate::call::call::Call;
pub use crate::collect_linked as collect;
pub use crate::context::context::Ctx;
pub use crate::context::extract::FromContext;
pub use crate::context::request::Request;
pub use crate::failure::{WireError, WireErrorEntry};
pub use crate::options::priority::Priority;
pub use crate::options::task_options::{Backoff, ErrorMatcher, Isolation, TaskOptions};
pub use crate::signature::fits::Anything;
pub use crate::signature::group::Group;
pub use crate::signature::map::{chunks, map_typed, starmap};
pub use crate::signature::signature::Signature;
pub use crate::task::argument_codec::{ArgumentCodec, argument_codec, encode};
pub use crate::task::arguments::{ArgumentWriter, Keyword, Parameter, ParameterList};
pub use crate::task::binding::Bound;
#[cfg(feature = "autodiscover")]
pub use crate::task::definition::TaskEntry;
pub use crate::task::definition::{Hooks, TaskDef, TaskFn, TaskType};
pub use crate::task::read_arguments::ReadArguments;
pub use crate::task_error::TaskResult;

use crate::task_error::TaskError;

/// Hands an entry to the linker, which collects those of a whole program. Without the feature `autodiscover` it is
/// nothing: the entry is named by hand. The generated code is the same, since it is this crate that knows the feature.
#[cfg(feature = "autodiscover")]
#[doc(hidden)]
#[macro_export]
macro_rules! collect_linked {
    ($($entry:tt)*) => { $crate::macro_support::inventory::submit! { $($entry)* } };
}

/// Without the feature `autodiscover` nothing is collected.
#[cfg(not(feature = "autodiscover"))]
#[doc(hidden)]
#[macro_export]
macro_rules! collect_linked {
    ($($entry:tt)*) => {};
}

/// The body of a task that `extern_task!` describes. Nothing registers such a task, so nothing calls it.
///
/// # Errors
/// Always.
pub fn extern_body(ctx: Ctx) -> TaskResult<Json> {
    let task = &ctx.request().headers.task;
    Err(TaskError::failure(format!("{} runs in another program", task.as_deref().unwrap_or("the task"))))
}

/// The length of [`dotted`].
pub const fn dotted_length(path: &str) -> usize {
    let bytes = path.as_bytes();
    let (mut at, mut length) = (0, 0);
    while at < bytes.len() {
        at += if bytes[at] == b':' { 2 } else { 1 };
        length += 1;
    }
    length
}

/// A module path with `.` instead of `::`. Computed by the compiler.
pub const fn dotted<const N: usize>(path: &str) -> [u8; N] {
    let bytes = path.as_bytes();
    let (mut at, mut to, mut out) = (0, 0, [0; N]);
    while to < N {
        let colon = bytes[at] == b':';
        out[to] = if colon { b'.' } else { bytes[at] };
        at += if colon { 2 } else { 1 };
        to += 1;
    }
    out
}

/// The text of [`dotted`].
pub const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a module path is UTF-8"),
    }
}

/// What a hook may return: nothing, or a result.
pub trait IntoHookResult {
    /// The result of the hook.
    ///
    /// # Errors
    /// What the hook returned.
    fn into_hook_result(self) -> TaskResult<()>;
}

impl IntoHookResult for () {
    fn into_hook_result(self) -> TaskResult<()> {
        Ok(())
    }
}

impl<E: Into<TaskError>> IntoHookResult for Result<(), E> {
    fn into_hook_result(self) -> TaskResult<()> {
        self.map_err(Into::into)
    }
}

/// What the hook `on_replace` may return: a signature, or a result.
pub trait IntoReplacement {
    /// The signature as messages carry it.
    ///
    /// # Errors
    /// What the hook returned, or an argument that cannot be encoded.
    fn into_replacement(self) -> TaskResult<WireSignature>;
}

impl<In: ?Sized, Out> IntoReplacement for Signature<In, Out> {
    fn into_replacement(self) -> TaskResult<WireSignature> {
        Ok(self.to_wire()?)
    }
}

impl<T: IntoReplacement, E: Into<TaskError>> IntoReplacement for Result<T, E> {
    fn into_replacement(self) -> TaskResult<WireSignature> {
        self.map_err(Into::into)?.into_replacement()
    }
}

#[cfg(test)]
mod tests {
    use super::{IntoHookResult, dotted, dotted_length, text};

    const PATH: &str = "proj::tasks::add";
    const NAME: [u8; dotted_length(PATH)] = dotted(PATH);

    #[test]
    fn a_module_path_becomes_a_task_name() {
        assert_eq!(text(&NAME), "proj.tasks.add");
    }

    #[test]
    fn a_hook_returns_nothing_or_a_result() {
        assert!(().into_hook_result().is_ok());
        assert!(Ok::<(), std::fmt::Error>(()).into_hook_result().is_ok());
        assert!(Err::<(), _>(std::fmt::Error).into_hook_result().is_err());
    }
}
