//! Tasks whose bodies are in a program of another language, which a child process of the worker has loaded.

use crate::options::task_options::TaskOptions;
use crate::task::arguments::ParameterList;

/// A task whose body is elsewhere. The worker knows its name and its options; the child that runs it decodes its
/// messages, calls its hooks, and sends what follows it.
#[derive(Debug, Clone)]
pub struct ForeignTask {
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: TaskOptions,
    /// Where it is defined, for errors and lists.
    pub location: String,
    /// Its parameters, where a worker may call it as an errback, with the request, the exception and the traceback.
    pub called_with: Option<ParameterList>,
}
