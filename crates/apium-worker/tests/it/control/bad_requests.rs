//! Requests that cannot be read, that are too many, or that nobody waits for: they never disturb the worker.

use std::time::Duration;

use apium_app::app::app::App;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlRequest, ReplyAddress};
use apium_protocol::message::message::Message;
use apium_worker::builder::AppWorker as _;
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::{call, next_replies, replies_to, request, send_messages};
use crate::logs::captured::{collect, events_with};
use crate::rig::{json, send, until_state};
use crate::task;

task!(Quick = "quick", [], async |_ctx| Ok(json(1)));

async fn app() -> TestApp {
    App::test().with(|app| app.autodiscover(false)).register::<Quick>().build().await.unwrap()
}

fn message(body: Vec<u8>) -> Message {
    let mut message = ControlRequest::new("ping", Vec::new()).to_message(1, 0.0);
    message.body = body.into();
    message
}

#[tokio::test]
async fn broken_requests_are_left_out_and_the_worker_goes_on() {
    let app = app().await;
    let worker = app.worker().start().await.unwrap();
    let mut without_type = message(b"{\"method\": \"ping\"}".to_vec());
    without_type.properties.content_type = None;
    let mut pickled = message(b"x".to_vec());
    pickled.properties.content_type = Some("application/x-python-serialize".into());
    let mut messages = vec![without_type, pickled, message(vec![b'['; 10_000_000])];
    for body in ["", "{", "[]", "7", "{\"method\": 7}", "{\"method\": \"ping\", \"arguments\": []}", "\u{0}"] {
        messages.push(message(body.as_bytes().to_vec()));
    }
    send_messages(&app, messages).await;
    assert_eq!(call(&app, "ping", j!({})).await, j!({"ok": "pong"}));
    for (method, arguments) in [
        ("revoke", j!({"task_id": 7})),
        ("revoke", j!({"task_id": [["x"]]})),
        ("revoke_by_stamped_headers", j!({"headers": 7})),
        ("revoke_by_stamped_headers", j!({"headers": ["no equals sign"]})),
        ("query_task", j!({"ids": {"a": 1}})),
        ("hello", j!({"from_node": null})),
        ("rate_limit", j!({"task_name": 7, "rate_limit": 1})),
        ("registered", j!({"taskinfoitems": 7})),
        ("add_consumer", j!({"queue": 7})),
        ("add_consumer", j!({"queue": "x", "exchange_type": "ring"})),
        ("active_queues", j!({"other": 1})),
    ] {
        let answer = call(&app, method, arguments.clone()).await;
        assert!(
            answer["error"].as_str().is_some_and(|error| error.contains("Error(")),
            "{method} {arguments}: {answer}"
        );
    }
    send(&app, "quick", "a").await;
    until_state(&app, "a", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn requests_of_other_versions_and_with_odd_clocks_are_answered() {
    let app = app().await;
    let worker = app.worker().start().await.unwrap();
    let mut mailbox = replies_to(&app, "caller").await;
    let to = j!({"exchange": "reply.celery.pidbox", "routing_key": "caller"});
    for body in [
        // A later version says more, and an earlier one less.
        j!({"method": "ping", "arguments": {}, "reply_to": to, "ticket": "t", "version": 9, "more": {"deep": [1, null]}}),
        j!({"method": "ping", "arguments": null, "destination": null, "pattern": null, "matcher": null, "reply_to": to}),
        j!({"method": "ping", "reply_to": to}),
    ] {
        send_messages(&app, vec![message(body.to_string().into_bytes())]).await;
        let replies = next_replies(&mut *mailbox).await;
        assert_eq!(replies[0].answer.decode::<serde_json::Value>().unwrap(), j!({"ok": "pong"}), "{body}");
    }
    // The logical clock of the sender jumps, in both directions, or is none.
    for clock in [j!(u64::MAX), j!(-7), j!(1.5), j!("12"), j!(null), j!([1]), j!(5_000_000), j!(i64::MAX)] {
        let mut asked = ControlRequest::new("clock", Vec::new());
        asked.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", "caller"));
        let mut asked = asked.to_message(1, 0.0);
        asked.headers.extra.insert("clock".to_owned(), Json::from_serialize(&clock).unwrap());
        send_messages(&app, vec![asked]).await;
        let replies = next_replies(&mut *mailbox).await;
        let now = replies[0].answer.decode::<serde_json::Value>().unwrap()["clock"].as_u64();
        let most = clock.as_u64().filter(|clock| *clock != u64::MAX).unwrap_or_default() + 1_000;
        assert!(now.is_some_and(|now| now <= most), "{clock}: {now:?}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_reply_that_nobody_waits_for_is_lost_and_nothing_else() {
    let app = app().await;
    let worker = app.worker().start().await.unwrap();
    let mut nobody = ControlRequest::new("ping", Vec::new());
    nobody.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", "gone"));
    send_messages(&app, vec![nobody.to_message(1, 0.0)]).await;
    assert_eq!(call(&app, "ping", j!({})).await, j!({"ok": "pong"}));
    worker.stop().await;
}

#[tokio::test]
async fn thousands_of_commands_at_once_are_all_answered() {
    let app = app().await;
    let worker = app.worker().start().await.unwrap();
    let mut mailbox = replies_to(&app, "caller").await;
    let mut asked = ControlRequest::new("clock", Vec::new());
    asked.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", "caller"));
    let began = std::time::Instant::now();
    send_messages(&app, vec![asked.to_message(1, 0.0); 5_000]).await;
    let mut answered = 0;
    while answered < 5_000 {
        answered += next_replies(&mut *mailbox).await.len();
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    send(&app, "quick", "a").await;
    until_state(&app, "a", "SUCCESS").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_million_revoked_ids_are_bounded() {
    collect();
    let app = app().await;
    let worker = app.worker().start().await.unwrap();
    let ids: Vec<String> = (0..1_000_000).map(|n| format!("id-{n}")).collect();
    send_messages(&app, vec![request("revoke", &j!({"task_id": ids})).to_message(1, 0.0)]).await;
    let revoked = call(&app, "revoked", j!({})).await;
    let revoked = revoked.as_array().unwrap();
    assert_eq!((revoked.len(), &revoked[49_999]), (50_000, &j!("id-999999")), "the oldest are forgotten");
    send(&app, "quick", "id-0").await;
    send(&app, "quick", "id-999998").await;
    until_state(&app, "id-0", "SUCCESS").await;
    until_state(&app, "id-999998", "REVOKED").await;
    worker.stop().await;
    let [said, _] = events_with("the oldest revokes are forgotten");
    assert!(said.len() == 1 && said[0].contains("dropped=950000"), "{said:?}");
}

#[tokio::test]
async fn a_worker_without_remote_control_hears_nothing() {
    let app = app().await;
    let worker = app.worker().hostname("w1@h").remote_control(false).start().await.unwrap();
    let other = app.worker().hostname("w2@h").start().await.unwrap();
    let mut mailbox = replies_to(&app, "caller").await;
    let mut asked = ControlRequest::new("ping", Vec::new());
    asked.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", "caller"));
    send_messages(&app, vec![asked.to_message(1, 0.0)]).await;
    let replies = next_replies(&mut *mailbox).await;
    assert_eq!(replies.iter().map(|reply| &*reply.node).collect::<Vec<_>>(), ["w2@h"]);
    for worker in [worker, other] {
        worker.stop().await;
    }
}
