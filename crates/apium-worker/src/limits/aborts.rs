//! Whether a task was aborted before its run (`AsyncResult::abort`). Such a run does not begin.
//!
//! Nothing tells a worker of an abort but the stored state. To read it before every run would cost a round trip for
//! each task, so it is read for tasks that say that they are abortable, as in Celery, and where STARTED is stored: that
//! is a round trip already, and the two are done side by side.

use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::error::Result;

/// Whether the state is read before a run of this task.
pub(crate) fn are_looked_for(task: &RegisteredTask) -> bool {
    task.effective.abortable || task.effective.track_started
}

/// Whether the task is aborted. No for a result backend that cannot be asked.
pub(crate) async fn is_aborted(backend: Option<&SharedBackend>, id: Option<&TaskId>) -> Result<bool> {
    let (Some(stored), Some(id)) = (backend.and_then(|backend| backend.stored()), id) else { return Ok(false) };
    let documents = stored.fetch(std::slice::from_ref(id)).await?;
    Ok(documents.iter().flatten().any(|document| document.state.is_aborted()))
}
