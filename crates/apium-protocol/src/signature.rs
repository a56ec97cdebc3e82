//! A signature on the wire: a task name with arguments and options.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::json::Json;

/// A signature as Celery writes it into messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The task's name.
    pub task: Arc<str>,
    /// Positional arguments.
    pub args: Vec<Json>,
    /// Keyword arguments.
    pub kwargs: Vec<(String, Json)>,
    /// `apply_async` options by name, with frozen ids.
    pub options: BTreeMap<String, Json>,
    /// `chain`, `group`, `chord`, `xmap`, `xstarmap`, `chunks` or nothing.
    pub subtask_type: Option<String>,
    /// Whether the result of the task before is not prepended.
    pub immutable: bool,
    /// Unknown keys, kept and echoed.
    pub extra: BTreeMap<String, Json>,
}
