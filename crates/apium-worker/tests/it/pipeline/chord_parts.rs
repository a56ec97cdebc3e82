//! Parts of chords whose messages were acked before the run, with queue and results in two stores. Before the last part
//! is counted, the worker publishes a message that counts it once more, in case the worker dies in between.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builtin_tasks::CHORD_PART;
use apium_app::canvas::node::Node;
use apium_app::canvas::send::send;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultTuple;
use apium_transport::backend::chord::{ChordHeader, ChordPart};
use apium_worker::testing::app::TestApp;
use apium_worker::testing::builder::AppTest as _;
use serde_json::Value;

use crate::rig::{Notes, counts, dead, json, state, stored};
use crate::task;

task!(Early = "early", [], async |ctx| Ok(ctx.request().args()[0].clone()));
task!(Late = "late", [acks_late: Some(true)], async |ctx| Ok(ctx.request().args()[0].clone()));
task!(Body = "body", [], async |ctx| {
    ctx.state::<Notes>().unwrap().add(ctx.request().args_json().as_str());
    Ok(json(1))
});

/// An app whose results are in the store of its queues, or in another one (`two_stores`).
async fn app(notes: &Notes, two_stores: bool) -> TestApp {
    let builder = App::test().with(move |app| match two_stores {
        true => app.autodiscover(false).backend("memory://results"),
        false => app.autodiscover(false),
    });
    builder.register::<Early>().register::<Late>().register::<Body>().state(notes.clone()).build().await.unwrap()
}

fn call(task: &str, args: &[u64]) -> Node {
    let args = args.iter().map(json).collect();
    let mut signature = WireSignature::new(task);
    signature.args = args;
    Node::from_wire(&signature).unwrap()
}

async fn chord(app: &App, task: &str) -> ResultTuple {
    send(app, Node::chord([call(task, &[1]), call(task, &[2])], call("body", &[]))).await.unwrap()
}

/// How many messages were published that count a part once more.
fn recounts(app: &TestApp) -> usize {
    app.sent_by_name(CHORD_PART).len()
}

#[tokio::test]
async fn a_recount_message_is_published_before_the_last_part_is_counted() {
    let notes = Notes::default();
    let app = app(&notes, true).await;
    let body = chord(&app, "early").await;
    app.drain().await;
    assert_eq!((notes.all(), recounts(&app)), (vec!["[[1, 2]]".to_owned()], 1));
    let message = &app.sent_by_name(CHORD_PART)[0];
    let header = body.parent.as_ref().unwrap();
    assert_eq!(&*message.routing_key, "celery", "the queue of the part");
    assert_eq!(message.eta, Some(app.now().saturating_add(app.config().chord_claim()).unwrap()));
    assert_eq!(message.message.headers.ignore_result, Some(true));
    let read: Value = serde_json::from_slice(&message.message.body).unwrap();
    assert_eq!(
        (&read[0], &read[1]["group"], &read[1]["state"]),
        (&serde_json::json!([]), &header.id.as_str().into(), &"SUCCESS".into())
    );
    // When it is due the chord has ended, so it does nothing, and no result is stored for it.
    assert_eq!(app.advance(app.config().chord_claim()).await, 1);
    assert_eq!(notes.all().len(), 1);
    assert_eq!(state(&app, message.message.headers.id.as_ref().unwrap().as_str()).await, "PENDING");
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked, left.delayed, dead(&app).await.len()), (0, 0, 0, 0));
}

/// A late-ack part is delivered again when its worker dies, and one store counts and acks in one step.
#[tokio::test]
async fn no_recount_message_is_published_where_the_part_cannot_be_lost() {
    for (two_stores, task) in [(true, "late"), (false, "early"), (false, "late")] {
        let notes = Notes::default();
        let app = app(&notes, two_stores).await;
        chord(&app, task).await;
        app.drain().await;
        assert_eq!((notes.all(), recounts(&app)), (vec!["[[1, 2]]".to_owned()], 0), "two stores: {two_stores}, {task}");
    }
}

/// The worker died after it had counted the last part, so the recount message sends the body or fails it.
#[tokio::test]
async fn a_recount_message_makes_what_follows_the_chord() {
    for failed in [false, true] {
        let notes = Notes::default();
        let app = app(&notes, true).await;
        let body = chord(&app, "early").await;
        app.drain().await;
        let message = app.sent_by_name(CHORD_PART)[0].clone();
        let second = self::app(&notes, true).await;
        // In the store of the second app all parts are counted, and what follows is not made.
        let read: Value = serde_json::from_slice(&message.message.body).unwrap();
        let group = read[1]["group"].as_str().unwrap();
        let chords = second.backend().unwrap().chords().unwrap();
        chords.open(ChordHeader::new(group.into(), 2)).await.unwrap();
        for (index, id) in header(&body).into_iter().enumerate() {
            let is_failed = failed && read[1]["task_id"].as_str() != Some(id.as_str());
            let (state, result) = match is_failed {
                true => (
                    "FAILURE",
                    r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#.to_owned(),
                ),
                false => ("SUCCESS", (index + 1).to_string()),
            };
            let mut part = ChordPart::new(
                group.into(),
                id.clone(),
                state.into(),
                Json::from_text(&result).unwrap(),
                id.to_string(),
                Duration::from_secs(5),
            );
            part.group_index = Some(i64::try_from(index).unwrap());
            chords.part_done(part).await.unwrap();
        }
        second.broker().publish(vec![message.at(None)]).await.unwrap();
        // The worker that died has the claim on the body until it runs out.
        second.advance(Duration::from_secs(10)).await;
        if failed {
            let document = stored(&second, body.id.as_str()).await.unwrap();
            assert!(document.result.as_str().contains("ChordError"), "{document:?}");
            assert_eq!(notes.all().len(), 1);
        } else {
            assert_eq!(second.sent_by_name("body").len(), 1);
            let sent = &second.sent_by_name("body")[0].message.headers;
            let first = &app.sent_by_name("body")[0].message.headers;
            assert_eq!((&sent.id, &sent.root_id, &sent.parent_id), (&first.id, &first.root_id, &first.parent_id));
            assert_eq!(notes.all(), ["[[1, 2]]", "[[1, 2]]"], "in another store it is another body");
        }
        assert_eq!((counts(&second, "celery").await.ready, dead(&second).await.len()), (0, 0));
        assert_eq!(recounts(&second), 1, "the recount itself is acked late and publishes no other one");
    }
}

fn header(body: &ResultTuple) -> Vec<TaskId> {
    let header = body.parent.as_ref().unwrap();
    header.children.iter().flatten().map(|member| member.id.clone()).collect()
}

/// As every message whose links cannot be read.
#[tokio::test]
async fn a_recount_message_without_a_part_goes_to_the_dead_set() {
    let app = app(&Notes::default(), true).await;
    app.sig(CHORD_PART).call().send(&app).await.unwrap();
    assert_eq!(app.drain().await, 0);
    let dead_letters = dead(&app).await;
    assert_eq!(dead_letters.len(), 1, "{dead_letters:?}");
    let (code, reason) = &dead_letters[0];
    assert!(code == "follow-ups" && reason.contains("group"), "{dead_letters:?}");
}
