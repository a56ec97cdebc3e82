//! Workflows whose messages and results lie in two stores, and follow-ups that cannot be read where they arrive.

use std::sync::Arc;

use apium::canvas::Node;
use apium::driver::MemoryDriver;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::testing::TestBuilder;
use apium::worker::StopKind;

use crate::canvas::tasks::{add, boomed, call, link, noted, raised, ran, same, sent, stored_error, sum};
use crate::ground::{Ground, Notes, notes};
use crate::live::{live, start, stop, until, value};

/// A header of many parts that end side by side, and a failed one: the body is sent once, the errback is called once.
async fn fires_once(builder: TestBuilder) {
    let app = builder.concurrency(8).build().await.unwrap();
    let header = (0..50).map(|i| call("canvas.same", json!([i])));
    let result = sent::<Json>(&app, Node::chord(header, call("canvas.noted", json!([])))).await;
    ran(&app, &result).await;
    let list = (0..50).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(notes(&app), [format!("noted [{list}]")]);
    assert_eq!(app.sent("canvas.noted").len(), 1);

    let mut body = call("canvas.noted", json!([]));
    body.link_error(link(&call("canvas.errback1", json!([]))));
    let header = [call("canvas.boom", json!([0])), call("canvas.same", json!([1]))];
    let failed = sent::<Json>(&app, Node::chord(header, body)).await;
    assert_eq!(raised(&app, &failed).await, boomed());
    assert_eq!(stored_error(&app, failed.id()).await.0, "ChordError");
    assert_eq!(notes(&app), [format!("errback1 {}", failed.id())]);
    let chain = (add::s(1, 1) | group([add::p(1), add::p(2)]) | sum::p() | add::p(1)).send(&app).await.unwrap();
    assert_eq!(ran(&app, &chain).await, 8);
}

on_every_driver! {
    async fn feature_3_5_06_a_chord_fires_once_where_messages_and_results_are_two_stores(ground: &Ground) {
        fires_once(ground.builder().backend(ground.other_url())).await;
    }

    async fn a_part_of_a_chord_waits_in_the_dead_set_for_a_worker_that_can_count_it(ground: &Ground) {
        let memory = Arc::new(MemoryDriver::new());
        let whole = live(ground).driver(memory.clone()).register::<same>().register::<noted>().build().await.unwrap();
        let without = App::builder("without results").driver(memory).autodiscover(false).broker(ground.url());
        let without = without.register::<same>().state(Notes::default()).build().await.unwrap();
        let chord = Node::chord([1, 2].map(|i| call("canvas.same", json!([i]))), call("canvas.noted", json!([])));
        let result = sent::<Json>(&whole, chord).await;

        let worker = start(&without, 1).await;
        let dead = whole.broker().dead().unwrap();
        until("both parts lie in the dead set", async || dead.count().await.unwrap() == 2).await;
        stop(worker, StopKind::Warm).await;
        let letters = dead.list(0, 10).await.unwrap();
        for letter in &letters {
            assert_eq!((letter.code.as_str(), letter.task.as_deref()), ("follow-ups", Some("canvas.same")));
            assert!(letter.reason.contains("no result backend of this worker counts parts"), "{}", letter.reason);
        }
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);

        assert_eq!(dead.replay(letters.iter().map(|letter| letter.key).collect()).await.unwrap(), 2);
        let worker = start(&whole, 1).await;
        value(&result).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(notes(&whole), ["noted [1, 2]"]);
        assert_eq!(dead.count().await.unwrap(), 0);
    }

    async fn a_message_with_a_follow_up_that_cannot_be_read_does_not_run(ground: &Ground) {
        let app = ground.app(&[]).await;
        let mut node = call("canvas.noted", json!([1]));
        let mut sculpture = WireSignature::new("celery.sculpture");
        sculpture.subtask_type = Some("sculpture".to_owned());
        node.link(sculpture);
        let result = sent::<Json>(&app, node).await;
        app.drain().await;
        assert_eq!(notes(&app), [""; 0]);
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);
        let letters = app.broker().dead().unwrap().list(0, 10).await.unwrap();
        assert_eq!((letters.len(), letters[0].code.as_str()), (1, "follow-ups"));
        assert!(letters[0].reason.contains("there is no kind \"sculpture\" of signatures"), "{}", letters[0].reason);
        let kept = letters[0].message.as_ref().unwrap();
        assert_eq!(kept.body, app.sent("canvas.noted")[0].message.body, "it is kept whole");
    }
}

#[tokio::test]
async fn feature_3_5_06_a_chord_fires_once_with_messages_in_memory_and_results_in_sqlite() {
    let (memory, sqlite) = (Ground::Memory, Ground::sqlite());
    fires_once(memory.builder().backend(sqlite.url())).await;
}
