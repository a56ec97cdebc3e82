//! `call`: sends a task by name, and may wait for it.

use std::time::Duration;

use apium_app::config::read::nearest;
use apium_app::options::priority::Priority;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::value::printable::printable;

use crate::exit::{Code, CommandError, Result};
use crate::output::print;
use crate::session::Session;
use crate::time_arg::{TimeArg, parse_seconds};
use crate::{json_arg, text_arg, wait_result};

/// Options of `call`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  call tasks.add --args '[2, 2]' --wait
  call mail.send --kwargs '{\"to\": \"a@b.c\"}' --queue mail --priority urgent
  call report.nightly --countdown 90 --expires 2026-12-01T08:00:00Z
  call tasks.add --args '[2, 2]' --wait --json | jq .result

Without --wait the id of the task is printed. With --wait its return value is printed as JSON, and with --json the whole \
result document as Celery stores it, also when the task failed or was revoked; the exit code is 1 then.")]
pub(crate) struct Args {
    /// The task's name, registered or not
    #[arg(value_name = "NAME")]
    name: String,
    /// Positional arguments, a JSON array
    #[arg(short, long, default_value = "[]", value_name = "JSON", allow_hyphen_values = true)]
    args: String,
    /// Keyword arguments, a JSON object
    #[arg(short, long, default_value = "{}", value_name = "JSON", allow_hyphen_values = true)]
    kwargs: String,
    /// The id, any text [default: a random UUID]
    #[arg(long, value_name = "ID", allow_hyphen_values = true, value_parser = text_arg::id)]
    task_id: Option<String>,
    /// Do not run it before this: seconds from now (fractions allowed) or an instant
    #[arg(long, value_name = "SECONDS", value_parser = TimeArg::parse, allow_hyphen_values = true, conflicts_with = "eta")]
    countdown: Option<TimeArg>,
    /// Do not run it before this instant; without an offset it is UTC
    #[arg(long, value_name = "INSTANT", value_parser = TimeArg::parse_instant)]
    eta: Option<TimeArg>,
    /// Do not run it after this: seconds from now (fractions allowed) or an instant
    #[arg(long, value_name = "SECONDS", value_parser = TimeArg::parse, allow_hyphen_values = true)]
    expires: Option<TimeArg>,
    /// The queue
    #[arg(short = 'Q', long, value_name = "QUEUE", value_parser = text_arg::queue)]
    queue: Option<String>,
    /// The priority: urgent (before all others), background (after them), or a number from 0 to 255; the broker decides
    /// whether larger or smaller ones come first (`report` says which)
    #[arg(long, value_name = "N", value_parser = priority, allow_negative_numbers = true)]
    priority: Option<Priority>,
    /// The serializer: json, msgpack, yaml
    #[arg(long, value_name = "NAME")]
    serializer: Option<String>,
    /// The compression: gzip, bzip2, lzma, brotli, zstd
    #[arg(long, value_name = "NAME")]
    compression: Option<String>,
    /// The hard time limit in seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    time_limit: Option<Duration>,
    /// The soft time limit in seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    soft_time_limit: Option<Duration>,
    /// Wait for the task, and print its result
    #[arg(short, long)]
    wait: bool,
    /// Wait no longer than this, in seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds, requires = "wait", allow_negative_numbers = true)]
    timeout: Option<Duration>,
}

/// Reads a priority.
fn priority(text: &str) -> Result<Priority, &'static str> {
    let number = || text.parse().ok().map(Priority::Number);
    Priority::of_word(text).or_else(number).ok_or("a priority is urgent, background, or a number from 0 to 255")
}

/// Sends the task.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let positional = json_arg::array(&args.args).map_err(|reason| {
        CommandError::usage(format!("read --args as a JSON array: {reason}")).hint("write it as --args '[2, \"text\"]'")
    })?;
    let keyword = json_arg::object(&args.kwargs).map_err(|reason| {
        CommandError::usage(format!("read --kwargs as a JSON object: {reason}"))
            .hint("write it as --kwargs '{\"x\": 2}'")
    })?;
    warn_of_spelling(session, &args.name);
    let id = args.task_id.as_deref().map_or_else(TaskId::random, TaskId::from);
    // Subscribed before the task is sent, so that no state is missed.
    let backend = if args.wait { Some(session.backend_of(&args.name)?) } else { None };
    send(session, &args, id.clone(), positional, keyword).await?;
    match backend {
        Some(backend) => {
            let waited =
                wait_result::wait_until_ready(session, &*backend, id.clone(), args.timeout, wait_result::Show::End);
            waited.await.map_err(|error| match error.code {
                // Both say what became of the task.
                Code::TaskFailed | Code::Timeout => error,
                _ => {
                    error.and_hint(&format!("task {id} was sent all the same, and `result {id} --watch` waits for it"))
                }
            })
        }
        None if session.json => print::json(&serde_json::json!({ "task_id": id.as_str() })),
        None => print::line(id.as_str()),
    }
}

/// The task may belong to another program, so it is sent whatever its name is. A name that is nearly one of this
/// program is pointed out.
fn warn_of_spelling(session: &Session, name: &str) {
    let registry = session.app.registry();
    if registry.get(name).is_none()
        && let Some(near) = nearest(name, registry.iter().map(|task| &*task.name))
    {
        tracing::warn!(
            "this program has no task {}; did you mean {near}? The call is sent all the same",
            printable(name)
        );
    }
}

async fn send(
    session: &Session,
    args: &Args,
    id: TaskId,
    positional: Vec<Json>,
    keyword: Vec<(String, Json)>,
) -> Result<()> {
    let now = session.app.clock().now();
    let mut call = session.app.sig(&args.name).raw_args(positional).raw_kwargs(keyword).call().task_id(id);
    // Celery: a countdown of zero, or a past one, is none.
    if let Some(moment) = args.countdown.filter(|moment| !moment.is_over()).or(args.eta) {
        call = call.eta(moment.from(now));
    }
    if let Some(moment) = args.expires {
        call = call.expires(moment.from(now));
    }
    if let Some(queue) = &args.queue {
        call = call.queue(queue);
    }
    if let Some(priority) = args.priority {
        call = call.priority(priority);
    }
    if let Some(serializer) = &args.serializer {
        call = call.serializer(serializer);
    }
    if let Some(compression) = &args.compression {
        call = call.compression(compression);
    }
    if let Some(limit) = args.time_limit {
        call = call.time_limit(limit);
    }
    if let Some(limit) = args.soft_time_limit {
        call = call.soft_time_limit(limit);
    }
    call.send(&session.app).await?;
    Ok(())
}
