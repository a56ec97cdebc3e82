//! Workflows with messages and results in two stores, and links that a worker cannot read or cannot handle.

use std::sync::Arc;

use apium::canvas::Node;
use apium::driver::MemoryDriver;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::testing::TestBuilder;
use apium::worker::StopKind;

use crate::canvas::tasks::{add, boomed, call, link, raised, ran, record, same, sent, stored_error, sum};
use crate::fixture::{Fixture, Records, records};
use crate::live::{live, start, stop, value, wait_until};

/// A chord of many parts that end at the same time sends its body once, and a failed one calls its errback once.
async fn fires_once(builder: TestBuilder) {
    let app = builder.concurrency(8).build().await.unwrap();
    let header = (0..50).map(|i| call("canvas.same", json!([i])));
    let result = sent::<Json>(&app, Node::chord(header, call("canvas.record", json!([])))).await;
    ran(&app, &result).await;
    let list = (0..50).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(records(&app), [format!("recorded [{list}]")]);
    assert_eq!(app.sent_by_name("canvas.record").len(), 1);

    let mut body = call("canvas.record", json!([]));
    body.link_error(link(&call("canvas.errback1", json!([]))));
    let header = [call("canvas.boom", json!([0])), call("canvas.same", json!([1]))];
    let failed = sent::<Json>(&app, Node::chord(header, body)).await;
    assert_eq!(raised(&app, &failed).await, boomed());
    assert_eq!(stored_error(&app, failed.id()).await.0, "ChordError");
    assert_eq!(records(&app), [format!("errback1 {}", failed.id())]);
    let chain = (add::s(1, 1) | group([add::p(1), add::p(2)]) | sum::p() | add::p(1)).send(&app).await.unwrap();
    assert_eq!(ran(&app, &chain).await, 8);
}

on_every_driver! {
    async fn a_chord_fires_once_where_messages_and_results_are_two_stores(fixture: &Fixture) {
        fires_once(fixture.builder().backend(fixture.other_url())).await;
    }

    async fn a_part_of_a_chord_waits_in_the_dead_set_for_a_worker_that_can_count_it(fixture: &Fixture) {
        let memory = Arc::new(MemoryDriver::new());
        let whole = live(fixture).driver(memory.clone()).register::<same>().register::<record>().build().await.unwrap();
        let without = App::builder("without results").driver(memory).autodiscover(false).broker(fixture.url());
        let without = without.register::<same>().state(Records::default()).build().await.unwrap();
        let chord = Node::chord([1, 2].map(|i| call("canvas.same", json!([i]))), call("canvas.record", json!([])));
        let result = sent::<Json>(&whole, chord).await;

        let worker = start(&without, 1).await;
        let dead = whole.broker().dead().unwrap();
        wait_until("both parts are in the dead set", async || dead.count().await.unwrap() == 2).await;
        stop(worker, StopKind::Warm).await;
        let dead_letters = dead.list(0, 10).await.unwrap();
        for dead_letter in &dead_letters {
            assert_eq!((dead_letter.code.as_str(), dead_letter.task.as_deref()), ("follow-ups", Some("canvas.same")));
            assert!(dead_letter.reason.contains("no result backend of this worker counts parts"), "{}", dead_letter.reason);
        }
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);

        assert_eq!(dead.replay(dead_letters.iter().map(|dead_letter| dead_letter.key).collect()).await.unwrap(), 2);
        let worker = start(&whole, 1).await;
        value(&result).await;
        stop(worker, StopKind::Warm).await;
        assert_eq!(records(&whole), ["recorded [1, 2]"]);
        assert_eq!(dead.count().await.unwrap(), 0);
    }

    async fn a_message_with_a_link_that_cannot_be_read_does_not_run(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut node = call("canvas.record", json!([1]));
        let mut sculpture = WireSignature::new("celery.sculpture");
        sculpture.subtask_type = Some("sculpture".to_owned());
        node.link(sculpture);
        let result = sent::<Json>(&app, node).await;
        app.drain().await;
        assert_eq!(records(&app), [""; 0]);
        // As in Celery, which finds it after the run.
        assert_eq!(result.state().await.unwrap(), TaskState::Failure);
        let dead_letters = app.broker().dead().unwrap().list(0, 10).await.unwrap();
        assert_eq!((dead_letters.len(), dead_letters[0].code.as_str()), (1, "follow-ups"));
        assert!(dead_letters[0].reason.contains("there is no kind \"sculpture\" of signatures"), "{}", dead_letters[0].reason);
        let message = dead_letters[0].message.as_ref().unwrap();
        assert_eq!(message.body, app.sent_by_name("canvas.record")[0].message.body, "its bytes are unchanged");
    }
}

#[tokio::test]
async fn a_chord_fires_once_with_messages_in_memory_and_results_in_sqlite() {
    let (memory, sqlite) = (Fixture::Memory, Fixture::sqlite());
    fires_once(memory.builder().backend(sqlite.url())).await;
}
