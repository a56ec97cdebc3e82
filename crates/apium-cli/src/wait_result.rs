//! Waiting for a task: every state as it comes, and how the command ends.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_protocol::value::printable::printable;
use apium_transport::backend::backend::{ResultBackend, ResultStream};
use futures_util::StreamExt;

use crate::exit::{Code, CommandError, Result};
use crate::output::{print, progress, result_document};
use crate::session::Session;

/// What is printed of a task that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// How it ended.
    End,
    /// Every state.
    Changes,
}

/// Waits until the task has ended. A task that failed or was revoked is an error with [`Code::TaskFailed`].
pub(crate) async fn wait_until_ready(
    session: &Session,
    backend: &dyn ResultBackend,
    id: TaskId,
    timeout: Option<Duration>,
    show: Show,
) -> Result<()> {
    let mut states = session.app.ask(backend.address(), || backend.watch(vec![id.clone()])).await?;
    let spinner = progress::spinner(format!("{id} PENDING"));
    let last =
        follow(session, &mut states, show, |state| spinner.set_message(printable(format!("{id} {state}")).to_string()));
    let last = match timeout {
        Some(limit) => tokio::time::timeout(limit, last).await.map_err(|_| late(&id, limit))?,
        None => last.await,
    }?;
    spinner.finish_and_clear();
    match last {
        Some(last) => end(session, &last, show),
        None => {
            Err(CommandError::new(Code::Unreachable, format!("wait for task {id}: the result backend ended the watch")))
        }
    }
}

async fn follow(
    session: &Session,
    states: &mut ResultStream,
    show: Show,
    saw: impl Fn(&State),
) -> Result<Option<ResultDocument>> {
    while let Some(document) = states.next().await {
        let document = document?;
        saw(&document.state);
        if show == Show::Changes {
            result_document::print(session, &document, false)?;
        }
        if document.state.is_ready() {
            return Ok(Some(document));
        }
    }
    Ok(None)
}

fn end(session: &Session, last: &ResultDocument, show: Show) -> Result<()> {
    if show == Show::End && session.json {
        print::line(&result_document::text(last)?)?;
    }
    if last.state == State::Success {
        return match show {
            Show::End if !session.json => print::line(&last.result.to_utf8()),
            _ => Ok(()),
        };
    }
    let stop = CommandError::new(
        Code::TaskFailed,
        format!("get the value of task {}: {}", last.task_id, result_document::summary(last)),
    );
    let shows = || format!("`result {} --traceback` shows where it failed", last.task_id);
    Err(if last.traceback.is_some() { stop.hint(shows()) } else { stop })
}

fn late(id: &TaskId, limit: Duration) -> CommandError {
    CommandError::new(Code::Timeout, format!("wait for task {id}: it did not end within {} s", limit.as_secs_f64()))
        .hint(format!("it is not taken back; `result {id} --watch` waits for it again, and `queues` says whether a worker consumes its queue"))
}
