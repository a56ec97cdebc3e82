//! Captured messages of Celery, published byte for byte: both workers run each with the same result.

use std::path::Path;

use apium::message::{Accept, Codecs, Envelope, Invocation};
use apium_peers::redis::Commands;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::kit::deployment::Deployment;
use crate::kit::side::Side;

/// A captured message.
struct Captured {
    name: String,
    raw: String,
    id: String,
}

/// Every captured task message that both workers can run and whose result is stored: no links, no eta, no ignored
/// result, no pickle, and a task that both have.
fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let vector: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let Some([only]) = vector["redis"].as_array().map(Vec::as_slice) else { continue };
        let Some(raw) = only["raw"].as_str().filter(|_| vector["kind"] == "task-message") else { continue };
        if let Some(found) = read(raw).filter(runs) {
            let name = vector["name"].as_str().unwrap().to_owned();
            all.push(Captured { name, raw: raw.to_owned(), id: found.id().to_owned() });
        }
    }
    all
}

fn read(raw: &str) -> Option<Invocation> {
    let envelope = Envelope::decode(&Bytes::copy_from_slice(raw.as_bytes())).ok()?;
    Codecs::standard().decode(&envelope.message, &Accept::names(["json", "msgpack", "yaml"])).ok()
}

fn runs(found: &Invocation) -> bool {
    let is_registered = found.task().starts_with("tasks.") && !["tasks.reject", "tasks.ignore"].contains(&found.task());
    // The values are compared with serde_json, which has no NaN.
    let plain = !found.body.args.iter().any(|arg| arg.as_str().contains("NaN"));
    let is_due = found.headers.eta.is_none();
    is_registered && plain && is_due && !found.body.embed.has_links() && found.headers.ignore_result != Some(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn captured_messages_are_the_same_to_both_workers() {
    let captured = captured();
    assert!(captured.len() >= 35, "{}", captured.len());
    let mut ends = Vec::new();
    for side in Side::BOTH {
        let deployment = Deployment::shared(side);
        let pair = deployment.pair(side).await;
        let mut connection = deployment.database.connection();
        for message in &captured {
            // Some messages have the same id.
            pair.python.ask(json!({ "do": "forget", "id": message.id })).await;
            let () = connection.lpush("celery", &message.raw).unwrap();
            let mut end = pair.get(&message.id).await;
            end.traceback = None;
            end.messages.clear();
            ends.push((message.name.clone(), end));
        }
    }
    let (rust, python) = ends.split_at(captured.len());
    for (one, two) in rust.iter().zip(python) {
        assert_eq!(one, two, "{}", one.0);
    }
    let good = rust.iter().filter(|(_, end)| end.state == "SUCCESS").count();
    assert!(good > 30, "{good} of them succeed");
}
