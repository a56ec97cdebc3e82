//! `apium events` and `apium top` with the workers of both sides.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use apium_peers::guarded::Guarded;
use apium_peers::log::Seen;
use apium_peers::python::{Python, run_python};
use apium_peers::target::example;
use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::side::Side;
use crate::operating::apium_commands::apium;

const LIMIT: Duration = Duration::from_secs(90);

/// A program that prints events until it is dropped.
struct Watching(Guarded);

impl Watching {
    fn start(command: &Command, ready: &str) -> Self {
        let this = Self(Guarded::start(command, None).unwrap());
        this.until(ready);
        this
    }

    fn until(&self, part: &str) {
        assert_eq!(self.0.log().wait_for(&[part], LIMIT), Seen::Line, "{part} is not in {}", self.0.log().text());
    }

    /// The lines about tasks, without the field that says when they were received here, and without what follows a
    /// traceback: its line breaks, as Celery's dump prints them, begin lines.
    fn task_lines(&self) -> Vec<String> {
        let text = self.0.log().text();
        let lines = text.lines().filter(|line| line.contains("] task "));
        let without = |line: &str| {
            let line = line.split(", traceback=").next().unwrap();
            let fields = line.split(", ").filter(|field| !field.contains("local_received="));
            fields.collect::<Vec<_>>().join(", ")
        };
        lines.map(without).collect()
    }
}

/// A worker that sends events of its tasks.
fn with_events(broker: Broker, side: Side) -> Deployment {
    Deployment::start_on(broker, side, |setup| setup.set("worker_send_task_events", json!(true)))
}

/// What JSON lines say of the events of tasks: by task the types in their order, each with its fields.
fn lives(lines: &str) -> BTreeMap<String, Vec<(String, Vec<String>)>> {
    let mut names = BTreeMap::new();
    let mut lives: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let Some(id) = event["uuid"].as_str() else { continue };
        if let Some(name) = event["name"].as_str() {
            names.insert(id.to_owned(), name.to_owned());
        }
        let fields = event.as_object().unwrap().keys().cloned().collect();
        lives.entry(names[id].clone()).or_default().push((event["type"].as_str().unwrap().to_owned(), fields));
    }
    // In Celery the next run of a task may be received before the last one says that it is retried.
    lives.values_mut().for_each(|life| life.sort());
    lives
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_as_json_have_the_same_fields_from_both_workers() {
    let mut seen = Vec::new();
    for side in Side::BOTH {
        let deployment = with_events(Broker::Redis, side);
        let watching = Watching::start(&apium(&deployment, ["events", "--json"]), "worker-heartbeat");
        let pair = deployment.pair(Side::Python).await;
        let failed = pair.send("tasks.fail", json!(["no\nluck"])).await;
        assert_eq!(pair.get(&failed).await.state, "FAILURE");
        let retried = pair.call("tasks.always_retry", json!([]), json!({}), json!({})).await;
        assert_eq!(pair.get(&retried).await.state, "FAILURE");
        pair.value("tasks.add", json!([1, 2]), json!({})).await;
        watching.until("\"task-succeeded\"");
        seen.push(lives(&watching.0.log().text()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 3, "{seen:?}");
}

on_every_broker! {
    async fn a_dump_of_events_has_the_lines_of_celerys_dump(broker: Broker) {
        for side in Side::BOTH {
            let deployment = with_events(broker, side);
            let (url, results) = (&*deployment.broker, &*deployment.database.url);
            let celery = ["-m", "celery", "-A", "tasks", "events", "--dump"];
            let theirs = Python::find().command(celery, &[("BROKER_URL", url), ("RESULT_BACKEND", results)]);
            let theirs = Watching::start(&theirs, "starting capture");
            let ours = Watching::start(&apium(&deployment, ["events", "--dump"]), "starting capture");
            // Celery says so before it listens.
            theirs.until("heartbeat");
            let pair = deployment.pair(Side::Python).await;
            let retried = pair.call("tasks.always_retry", json!([]), json!({}), json!({})).await;
            assert_eq!(pair.get(&retried).await.state, "FAILURE");
            pair.value("tasks.echo", json!([1, "é"]), json!({})).await;
            for watching in [&ours, &theirs] {
                watching.until("task succeeded: tasks.echo(");
            }
            assert_eq!(ours.task_lines(), theirs.task_lines(), "{side:?}");
            assert!(ours.task_lines().len() >= 8, "{:?}", ours.task_lines());
        }
    }

    async fn the_live_view_shows_workers_of_both_sides_in_a_terminal(broker: Broker) {
        let deployment = with_events(broker, Side::Rust);
        let (url, results) = (&*deployment.broker, &*deployment.database.url);
        let mut other = crate::kit::worker::Setup::new(url).results(results).named("two@peer");
        other = other.set("worker_send_task_events", json!(true));
        let _other = other.start(Side::Python);
        let program = example("interop");
        for (columns, rows) in [("80", "24"), ("200", "50")] {
            let args = ["in_terminal.py", columns, rows, "one@peer two@peer", "q", program.to_str().unwrap(), "top"];
            let ran = run_python(args, &[("APIUM_BROKER_URL", url), ("APIUM_RESULT_BACKEND", results)]);
            let ended: Value = serde_json::from_str(ran.text()).unwrap();
            let shown = (&ended["code"], &ended["missing"], &ended["given_back"]);
            assert_eq!(shown, (&json!(0), &json!([]), &json!(true)));
        }
    }
}
