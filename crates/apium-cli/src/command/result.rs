//! `result`: shows the state and result of a task, once or until it ends.

use std::time::Duration;

use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_transport::broker::queue_admin::QueueStats;

use crate::exit::{CommandError, Result};
use crate::output::{print, result_document};
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

An id without a result is PENDING, as in Celery. Where the broker can tell that no message and no worker has it either, it \
is not known, and the exit code is 5. With --watch each change of state is one line, and the exit code is 1 \
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
    if let Some(found) = found {
        return result_document::print(session, &found, args.traceback);
    }
    match search(session, &id).await? {
        Search::Nowhere if session.json => {
            result_document::print(session, &ResultDocument::pending(id.clone()), false)?
        }
        Search::Nowhere => {}
        Search::Uncertain => return result_document::print(session, &ResultDocument::pending(id), false),
        Search::Waiting(queue) if !session.json => {
            return print::line(&format!("PENDING  (waiting in the queue {queue})"));
        }
        Search::Dead(key) if !session.json => {
            return print::line(&format!("PENDING  (in the dead set; `dead show {key}` says why)"));
        }
        Search::Waiting(_) | Search::Dead(_) => {
            return result_document::print(session, &ResultDocument::pending(id), false);
        }
    }
    let text = format!("find the task {id}: it has no result, no queue has its message, and no worker runs");
    Err(CommandError::not_found(text).hint("its result may have expired (result_expires)"))
}

/// Where a task without a result is.
enum Search {
    /// Its message is ready in this queue.
    Waiting(String),
    /// Its message is in the dead set, under this key.
    Dead(u64),
    /// Nowhere: it was never sent, or is forgotten.
    Nowhere,
    /// It may be with a worker, or among messages that cannot be looked through.
    Uncertain,
}

/// How many messages of a queue, and of the dead set, are looked through.
const MOST: u64 = 1_000;

async fn search(session: &Session, id: &TaskId) -> Result<Search> {
    let broker = session.app.broker();
    let Some((admin, counts)) = broker.queues().and_then(|admin| Some((admin, admin.counts()?))) else {
        return Ok(Search::Uncertain);
    };
    if let Some(dead) = broker.dead() {
        let letters = session.ask_broker(|| dead.list(0, MOST as usize)).await?;
        if let Some(letter) = letters.iter().find(|letter| letter.task_id.as_deref() == Some(id.as_str())) {
            return Ok(Search::Dead(letter.key));
        }
        if session.ask_broker(|| dead.count()).await? > MOST {
            return Ok(Search::Uncertain);
        }
    }
    let stats = session.ask_broker(|| counts.stats()).await?;
    let is_hidden = |queue: &QueueStats| {
        queue.consumers > 0
            || queue.unacked > 0
            || queue.delayed > 0
            || queue.ready > MOST
            || admin.messages().is_none()
    };
    if !counts.sees_every_worker() || stats.iter().any(is_hidden) {
        return Ok(Search::Uncertain);
    }
    for queue in stats.iter().filter(|queue| queue.ready > 0) {
        let Some(messages) = admin.messages() else { return Ok(Search::Uncertain) };
        let waiting = session.ask_broker(|| messages.peek(&queue.queue, MOST as usize)).await?;
        if waiting.iter().any(|outgoing| outgoing.message.headers.id.as_ref() == Some(id)) {
            return Ok(Search::Waiting(queue.queue.clone()));
        }
    }
    Ok(Search::Nowhere)
}
