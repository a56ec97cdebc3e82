//! Running a task in the caller's process: the seam that the worker fills, for eager calls.

use std::sync::Arc;

use apium_protocol::message::message::Message;
use apium_protocol::result::document::ResultDocument;
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::error::Result;
use crate::task::registered::RegisteredTask;

/// Runs a task here and now, as a worker would, with `is_eager` set and the plain host name. Countdown, eta and time
/// limits do not apply; a retry runs again at once.
pub trait EagerRunner: Send + Sync + 'static {
    /// Runs the task of a message to its end and returns its document. A failing task is no error here: its document
    /// says FAILURE.
    ///
    /// # Errors
    /// When the message cannot be decoded.
    fn run(&self, app: App, run: EagerRun) -> BoxFuture<'static, Result<ResultDocument>>;
}

/// A run in the caller's process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EagerRun {
    /// The task.
    pub task: Arc<RegisteredTask>,
    /// The call as a message: arguments are encoded and decoded, as on their way to a worker.
    pub message: Message,
    /// Whether a failure is raised to the caller: the failure's hooks are left out then, as in Celery.
    pub throws: bool,
}

impl EagerRun {
    /// A run of a task by a message.
    pub fn new(task: Arc<RegisteredTask>, message: Message, throws: bool) -> Self {
        Self { task, message, throws }
    }
}
