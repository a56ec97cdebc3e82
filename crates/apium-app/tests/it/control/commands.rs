//! Every command is Celery's byte for byte, and every captured reply of a Python worker is read.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::control::addressing::PatternMatcher;
use apium_app::control::command::RemoteCommand;
use apium_app::control::control::{AddedQueue, Control};
use apium_app::control::inspect::Inspect;
use apium_app::control::replies::{Replies, ReplyError};
use apium_protocol::json::text::Json;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::control::fake_worker::{FakeWorker, NODE, reply};
use crate::kit;
use crate::result::trees::vector;

/// The replies to a command, whatever they are: whether each could be read, and as it came.
type Asked = BoxFuture<'static, Vec<(Result<(), ReplyError>, Json)>>;

fn read<T: Send + 'static>(replies: Replies<T>) -> Vec<(Result<(), ReplyError>, Json)> {
    replies.into_iter().map(|reply| (reply.answer.map(drop), reply.raw)).collect()
}

fn ask<T: Send + 'static>(command: RemoteCommand<T>) -> Asked {
    Box::pin(async move { read(command.replies().await.unwrap()) })
}

fn cast<T: Send + 'static>(command: RemoteCommand<T>) -> Asked {
    Box::pin(async move {
        command.send().await.unwrap();
        Vec::new()
    })
}

const IDS: [&str; 4] = [
    "cafe0000-0000-4000-9000-000000000001",
    "cafe0000-0000-4000-9000-000000000003",
    "cafe0000-0000-4000-9000-000000000004",
    "unknown",
];

fn json(text: &str) -> Json {
    Json::from_text(text).unwrap()
}

/// The captured commands that ask, by the name of their capture.
fn inspections(inspect: &Inspect, name: &str) -> Option<Asked> {
    Some(match name {
        "active" => ask(inspect.active()),
        "active_queues" => ask(inspect.active_queues()),
        "active_safe" => ask(inspect.active_safe()),
        "clock" => ask(inspect.clock()),
        "conf" => ask(inspect.conf(false)),
        "hello" => ask(inspect.hello("other@node", &["a", "b"])),
        "inspect_ping" => ask(inspect.ping()),
        "memdump" => ask(inspect.memdump(10)),
        "memsample" => ask(inspect.memsample()),
        "objgraph" => ask(inspect.objgraph("Request", 200, 10)),
        "query_task" => ask(inspect.query_task(IDS)),
        "registered" => ask(inspect.registered(&[])),
        "registered_fields" => ask(inspect.registered(&["max_retries", "rate_limit"])),
        "report" => ask(inspect.report()),
        "reserved" => ask(inspect.reserved()),
        "revoked" => ask(inspect.revoked()),
        "scheduled" => ask(inspect.scheduled()),
        "stats" | "stats_autoscale" => ask(inspect.stats()),
        _ => return None,
    })
}

/// The captured commands that change something.
fn commands(app: &App, name: &str) -> Asked {
    let control: Control = app.control().limit(1);
    let revoked = |revoke: apium_app::control::revoke::Revoke| -> Asked {
        Box::pin(async move { read(revoke.replies().await.unwrap()) })
    };
    let full = || {
        let off = || json("false");
        let queue = AddedQueue::new("q3").exchange("ex3", "topic").routing_key("rk.#");
        queue.option("queue_durable", off()).option("exchange_durable", off())
    };
    match name {
        "add_consumer" => ask(control.add_consumer("q2")),
        "add_consumer_full" => ask(control.add_consumer(full())),
        "autoscale" => ask(control.autoscale(4, 2)),
        "autoscale_disabled" => ask(control.autoscale(5, 2)),
        "bad_arguments" => ask(control.broadcast("rate_limit", vec![("bogus".to_owned(), json("1"))])),
        "cancel_consumer" => ask(control.cancel_consumer("q2")),
        "disable_events" | "disable_events_again" => ask(control.disable_events()),
        "election" => cast(control.election("el-1", "task", None)),
        "enable_events" | "enable_events_again" => ask(control.enable_events()),
        "heartbeat" => cast(control.heartbeat()),
        "ping" => ask(control.ping()),
        "ping_destination" => ask(app.control().destination([NODE]).ping()),
        "ping_pattern_glob" => ask(control.pattern("*@*", PatternMatcher::Glob).ping()),
        "ping_pattern_pcre" => {
            let control = control.pattern("^nomatch", PatternMatcher::Pcre);
            ask(control.timeout(Duration::from_millis(1)).ping())
        }
        "pool_grow" | "pool_grow_autoscale" => ask(control.pool_grow(1)),
        "pool_restart" | "pool_restart_disabled" => ask(control.pool_restart()),
        "pool_shrink" => ask(control.pool_shrink(1)),
        "rate_limit" => ask(control.rate_limit("tasks.add", "5/m")),
        "rate_limit_invalid" => {
            let arguments = [("task_name", r#""tasks.add""#), ("rate_limit", r#""bogus""#)];
            let arguments = arguments.map(|(name, value)| (name.to_owned(), json(value)));
            ask(control.broadcast("rate_limit", arguments.to_vec()))
        }
        "rate_limit_unknown" => ask(control.rate_limit("no.such", "1/s")),
        "rate_limit_zero" => ask(control.rate_limit("tasks.add", "0")),
        "revoke" => revoked(control.revoke(IDS[1])),
        "revoke_by_stamped_headers" => revoked(control.revoke_by_stamps([("batch", json(r#"["b9"]"#))])),
        "revoke_by_stamped_headers_terminate" => {
            revoked(control.revoke_by_stamps([("batch", json(r#""b1""#))]).terminate())
        }
        "revoke_list" => revoked(control.revoke_all([IDS[2], "cafe0000-0000-4000-9000-000000000077"])),
        "revoke_terminate" => {
            revoked(control.revoke("cafe0000-0000-4000-9000-000000000202").terminate().signal("SIGKILL"))
        }
        "revoke_terminate_unknown" => revoked(control.revoke("unknown-id").terminate()),
        "shutdown" => cast(control.shutdown()),
        "terminate_command" => {
            let ids = json(r#"["cafe0000-0000-4000-9000-000000000203"]"#);
            let arguments = vec![("signal".to_owned(), json(r#""TERM""#)), ("task_id".to_owned(), ids)];
            ask(control.broadcast("terminate", arguments))
        }
        "time_limit" => {
            let (soft, hard) = (Duration::from_millis(1_500), Duration::from_secs(5));
            ask(control.time_limit("tasks.mul", Some(soft), Some(hard)))
        }
        "time_limit_unknown" => ask(control.time_limit("no.such", Some(Duration::from_secs(1)), None)),
        "unknown_command" => ask(control.broadcast("no_such_command", Vec::new())),
        _ => panic!("the capture {name} has no row"),
    }
}

/// The body of the first message of a side of a capture.
fn body<'a>(captured: &'a Value, side: &str) -> Option<&'a str> {
    captured["redis"][side].get(0)?["body"]["utf8"].as_str()
}

#[tokio::test]
async fn every_captured_command_is_sent_byte_for_byte_and_its_reply_is_read() {
    let folder = format!("{}/../../tests/vectors", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .map(|file| file.into_string().unwrap())
        .collect();
    names.sort();
    let names: Vec<&str> =
        names.iter().filter_map(|file| file.strip_prefix("control_")?.strip_suffix(".json")).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        let captured = vector(&format!("control_{name}"));
        let app = kit::app().await.0;
        let answer = body(&captured, "replies").map(|body| {
            let whole: Value = serde_json::from_str(body).unwrap();
            whole[NODE].to_string()
        });
        let expected_reply = answer.clone().map(|text| json(&text));
        let worker =
            FakeWorker::start(&app, move |request| answer.iter().map(|answer| reply(request, NODE, answer)).collect())
                .await;
        let asked = inspections(&app.inspect().limit(1), name).unwrap_or_else(|| commands(&app, name)).await;
        worker.wait_for(1).await;

        let (message, request) = (worker.messages().remove(0), worker.requests().remove(0));
        let mut expected = body(&captured, "request").unwrap().to_owned();
        let found: Value = serde_json::from_str(&expected).unwrap();
        let texts = [
            (&found["ticket"], request.ticket.clone()),
            (&found["reply_to"]["routing_key"], request.reply_to.map(|address| address.routing_key)),
        ];
        for (captured, ours) in texts {
            assert_eq!(captured.is_string(), ours.is_some(), "{name}: {captured}");
            if let (Some(captured), Some(ours)) = (captured.as_str(), ours) {
                expected = expected.replace(captured, &ours);
            }
        }
        if request.recorded {
            // Ours says that the revoke is kept; a worker of Celery does not look at it.
            assert!(name.starts_with("revoke"), "{name}");
            expected = format!("{}, \"recorded\": true}}", expected.strip_suffix('}').unwrap());
        }
        assert_eq!(std::str::from_utf8(&message.body).unwrap(), expected, "{name}");
        assert_eq!(message.properties.content_type.as_deref(), Some("application/json"), "{name}");
        assert_eq!((message.properties.delivery_mode, message.properties.priority), (Some(2), Some(0)), "{name}");
        let headers: Vec<&str> = message.headers.extra.keys().map(String::as_str).collect();
        assert_eq!(headers, ["clock", "expires"], "{name}");

        let Some(raw) = expected_reply else {
            assert!(asked.is_empty(), "{name}");
            continue;
        };
        let [(outcome, found)] = asked.as_slice() else { panic!("{name}: {asked:?}") };
        assert_eq!(*found, raw, "{name}");
        match raw.to_value().unwrap().get("error").and_then(|error| error.as_str()) {
            Some(error) => assert_eq!(*outcome, Err(ReplyError::Refused(error.to_owned())), "{name}"),
            None => assert_eq!(*outcome, Ok(()), "{name}"),
        }
    }
}
