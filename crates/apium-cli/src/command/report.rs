//! `report`: versions, platform, addresses and settings, without secrets: what belongs into a bug report.

use apium_app::app::early_acks::early_ack_note;
use apium_transport::broker::broker::PriorityOrder;
use apium_transport::broker::queue_admin::QueueAdmin;
use serde_json::{Value, json};

use crate::exit::Result;
use crate::output::print;
use crate::session::Session;

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Reports.
pub(crate) async fn run(session: &Session, Args {}: &Args) -> Result<()> {
    let report = gather(session).await;
    if session.json { print::json(&report) } else { print(&report, 0) }
}

async fn gather(session: &Session) -> Value {
    let app = &session.app;
    let broker = app.broker();
    let able = broker.capabilities();
    let first = match able.priority_order {
        PriorityOrder::LargerFirst => "larger first",
        PriorityOrder::SmallerFirst => "smaller first",
    };
    let state = match broker.queues() {
        Some(admin) => match state_of(session, admin).await {
            Ok(state) => state,
            Err(error) => format!("not reachable: {error:#}"),
        },
        None => "cannot be asked".to_owned(),
    };
    let dead = match broker.dead() {
        Some(dead) => dead.count().await.ok(),
        None => None,
    };
    let backend = app.backend().map(|backend| {
        let able = backend.capabilities();
        json!({
            "address": backend.address().to_string(),
            "outlives the program": able.durable,
            "several processes": able.multi_process,
            "reports every state": able.every_state,
        })
    });
    let settings: serde_json::Map<_, _> = app
        .config()
        .changed()
        .map(|given| (given.name.to_owned(), format!("{} ({})", given.shown, given.origin).into()))
        .collect();
    json!({
        "apium": env!("CARGO_PKG_VERSION"),
        "app": app.name(),
        "platform": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "broker": {
            "address": broker.address().to_string(),
            "state": state,
            "dead messages": dead,
            "delays etas": able.delays,
            "outlives the program": able.durable,
            "several processes": able.multi_process,
            "priorities": first,
        },
        "result backend": backend,
        "tasks": session.registered().into_iter().map(|task| task.name).collect::<Vec<_>>(),
        "early acknowledgement": early_ack_note(app.registry(), app.config()),
        "settings that differ from the defaults": settings,
    })
}

/// The state of a broker that has queues to look at.
async fn state_of(session: &Session, admin: &dyn QueueAdmin) -> apium_transport::error::Result<String> {
    match admin.counts() {
        Some(counts) => Ok(format!("reachable, queues: {}", counts.stats().await?.len())),
        None => {
            // It has no list of queues. The depth of one shows whether it answers.
            for queue in session.configured_queues().iter().take(1) {
                admin.depth(queue).await?;
            }
            Ok("reachable".to_owned())
        }
    }
}

/// Prints nested names and values, two blanks deeper each level.
fn print(value: &Value, depth: usize) -> Result<()> {
    let Value::Object(entries) = value else { return print::line(&plain(value)) };
    let gap = "  ".repeat(depth);
    for (name, value) in entries {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                print::line(&format!("{gap}{name}:"))?;
                print(value, depth + 1)?;
            }
            _ => print::line(&format!("{gap}{name}: {}", plain(value)))?,
        }
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "none".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}
