//! Parts of chords whose messages were acked before they ran, with queue and results in two stores: before the last one is counted a
//! message is out that counts it once more.

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

/// An app whose results are in its own store, or in another one.
async fn app(notes: &Notes, apart: bool) -> TestApp {
    let builder = App::test().with(move |app| match apart {
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

/// What it would cost to lose the last part: the message that counts it once more.
fn kept(app: &TestApp) -> usize {
    app.sent(CHORD_PART).len()
}

#[tokio::test]
async fn a_message_is_out_before_the_last_part_is_counted() {
    let notes = Notes::default();
    let app = app(&notes, true).await;
    let body = chord(&app, "early").await;
    app.drain().await;
    assert_eq!((notes.all(), kept(&app)), (vec!["[[1, 2]]".to_owned()], 1));
    let message = &app.sent(CHORD_PART)[0];
    let header = body.parent.as_ref().unwrap();
    assert_eq!(&*message.routing_key, "celery", "where its part came from");
    assert_eq!(message.eta, Some(app.now().saturating_add(app.config().chord_claim()).unwrap()));
    assert_eq!(message.message.headers.ignore_result, Some(true));
    let read: Value = serde_json::from_slice(&message.message.body).unwrap();
    assert_eq!(
        (&read[0], &read[1]["group"], &read[1]["state"]),
        (&serde_json::json!([]), &header.id.as_str().into(), &"SUCCESS".into())
    );
    // When it is due there is nothing to be done any more, and nothing is stored for it.
    assert_eq!(app.advance(app.config().chord_claim()).await, 1);
    assert_eq!(notes.all().len(), 1);
    assert_eq!(state(&app, message.message.headers.id.as_ref().unwrap().as_str()).await, "PENDING");
    let left = counts(&app, "celery").await;
    assert_eq!((left.ready, left.unacked, left.delayed, dead(&app).await.len()), (0, 0, 0, 0));
}

/// What has a delivery comes again by itself, and one store has no moment in between.
#[tokio::test]
async fn no_message_is_kept_where_the_part_cannot_be_lost() {
    for (apart, task) in [(true, "late"), (false, "early"), (false, "late")] {
        let notes = Notes::default();
        let app = app(&notes, apart).await;
        chord(&app, task).await;
        app.drain().await;
        assert_eq!((notes.all(), kept(&app)), (vec!["[[1, 2]]".to_owned()], 0), "{apart} {task}");
    }
}

/// Its worker died after the part was counted: the message does the rest, as the part would have done.
#[tokio::test]
async fn the_message_sends_the_body() {
    for failed in [false, true] {
        let notes = Notes::default();
        let app = app(&notes, true).await;
        let body = chord(&app, "early").await;
        app.drain().await;
        let message = app.sent(CHORD_PART)[0].clone();
        let again = self::app(&notes, true).await;
        // A store in which all parts are counted, and nothing follows.
        let read: Value = serde_json::from_slice(&message.message.body).unwrap();
        let group = read[1]["group"].as_str().unwrap();
        let chords = again.backend().unwrap().chords().unwrap();
        chords.open(ChordHeader::new(group.into(), 2)).await.unwrap();
        for (place, id) in header(&body).into_iter().enumerate() {
            let is_failed = failed && read[1]["task_id"].as_str() != Some(id.as_str());
            let (state, result) = match is_failed {
                true => (
                    "FAILURE",
                    r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#.to_owned(),
                ),
                false => ("SUCCESS", (place + 1).to_string()),
            };
            let mut part = ChordPart::new(
                group.into(),
                id.clone(),
                state.into(),
                Json::from_text(&result).unwrap(),
                id.to_string(),
                Duration::from_secs(5),
            );
            part.group_index = Some(i64::try_from(place).unwrap());
            chords.part_done(part).await.unwrap();
        }
        again.broker().publish(vec![message.at(None)]).await.unwrap();
        // The one that died was told so, and has the claim.
        again.advance(Duration::from_secs(10)).await;
        if failed {
            let document = stored(&again, body.id.as_str()).await.unwrap();
            assert!(document.result.as_str().contains("ChordError"), "{document:?}");
            assert_eq!(notes.all().len(), 1);
        } else {
            assert_eq!(again.sent("body").len(), 1);
            let sent = &again.sent("body")[0].message.headers;
            let first = &app.sent("body")[0].message.headers;
            assert_eq!((&sent.id, &sent.root_id, &sent.parent_id), (&first.id, &first.root_id, &first.parent_id));
            assert_eq!(notes.all(), ["[[1, 2]]", "[[1, 2]]"], "in another store it is another body");
        }
        assert_eq!((counts(&again, "celery").await.ready, dead(&again).await.len()), (0, 0));
        assert_eq!(kept(&again), 1, "its own run has a delivery, and needs no other");
    }
}

fn header(body: &ResultTuple) -> Vec<TaskId> {
    let header = body.parent.as_ref().unwrap();
    header.children.iter().flatten().map(|member| member.id.clone()).collect()
}

/// What it says cannot be read: it is kept, like a message whose follow-ups cannot be read.
#[tokio::test]
async fn a_message_that_says_no_part_is_kept_in_the_dead_set() {
    let app = app(&Notes::default(), true).await;
    app.sig(CHORD_PART).call().send(&app).await.unwrap();
    assert_eq!(app.drain().await, 0);
    let letters = dead(&app).await;
    assert!(letters.len() == 1 && letters[0].0 == "follow-ups" && letters[0].1.contains("group"), "{letters:?}");
}
