//! `result`: shows the state and result of a task, once or until it ends.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;

use crate::exit::{CommandError, Result};
use crate::output::result_document;
use crate::session::Session;
use crate::text_arg;
use crate::time_arg::parse_seconds;
use crate::wait_result;

/// Options of `result`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  result 3f1d0f0e-4a52-4f0f-9a52-0d6f5b6b6a10
  result 3f1d0f0e-4a52-4f0f-9a52-0d6f5b6b6a10 --watch
  result 3f1d0f0e-4a52-4f0f-9a52-0d6f5b6b6a10 --json | jq -r .status

An id that is not known is PENDING, as in Celery. With --watch each change of state is one line, and the exit code is 1 \
when the task failed or was revoked.")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "ID", allow_hyphen_values = true, value_parser = text_arg::id)]
    id: String,
    /// Follow the task until it ends, with one line for each state
    #[arg(short, long)]
    watch: bool,
    /// Follow it no longer than this, in seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds, requires = "watch", allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Show the traceback too
    #[arg(long)]
    traceback: bool,
}

/// Shows the result.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let backend = session.backend()?;
    let id = TaskId::from(&*args.id);
    if args.watch {
        return wait_result::wait_until_ready(session, &*backend, id, args.timeout, wait_result::Show::Changes).await;
    }
    let stored = backend.stored().ok_or_else(|| {
        let address = backend.address();
        CommandError::usage(format!("read a result: the result backend {address} delivers results and stores none"))
    })?;
    let found = session.app.ask(backend.address(), || stored.fetch(std::slice::from_ref(&id))).await?.pop().flatten();
    let found = found.unwrap_or_else(|| ResultDocument::pending(id));
    result_document::print(session, &found, args.traceback)
}
