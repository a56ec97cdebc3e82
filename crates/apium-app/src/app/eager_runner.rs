//! Eager calls run a task in the caller's process. The worker implements this seam.

use std::sync::Arc;

use apium_protocol::message::message::Message;
use apium_protocol::result::document::ResultDocument;
use futures_util::future::BoxFuture;

use crate::app::app::App;
use crate::error::Result;
use crate::task::registered::RegisteredTask;

/// Runs a task in the caller's process as a worker does, with `is_eager` set and the host name as node name. Countdown,
/// eta and time limits have no effect, and a retry runs at once.
pub trait EagerRunner: Send + Sync + 'static {
    /// Runs the task of a message and returns its document. The failure of the task is not an error: the document says
    /// FAILURE then.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::error::ErrorKind::Codec) when the message cannot be decoded.
    fn run(&self, app: App, run: EagerRun) -> BoxFuture<'static, Result<ResultDocument>>;
}

/// An eager run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EagerRun {
    /// The task.
    pub task: Arc<RegisteredTask>,
    /// The call as a message: its arguments are encoded, and are decoded as by a worker.
    pub message: Message,
    /// Whether the caller gets a failure as an error (`task_eager_propagates`). The hooks of a failure are not called
    /// then, as in Celery.
    pub throws: bool,
}

impl EagerRun {
    /// A run of a task by a message.
    pub fn new(task: Arc<RegisteredTask>, message: Message, throws: bool) -> Self {
        Self { task, message, throws }
    }
}
