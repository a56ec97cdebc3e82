//! Chords.

use std::time::Duration;

use apium::canvas::{Node, send};
use apium::config::Value;
use apium::prelude::*;
use apium::testing::TestApp;
use apium_peers::redis::Commands;

use crate::canvas::tasks::{
    add, boomed, call, errback1, errback3, ignored, immutable_call, link, mul, raised, ran, sent, state, stored_error,
    sum,
};
use crate::fixture::{PATIENCE, records, waiting};

fn one(i: i64) -> Node {
    call("canvas.same", json!([i]))
}

fn boom() -> Node {
    call("canvas.boom", json!([0]))
}

fn record() -> Node {
    call("canvas.record", json!([]))
}

fn errback(name: &str) -> apium::message::Signature {
    link(&call(name, json!([])))
}

/// Runs a chord of this header, whose body records its argument. Returns what is recorded.
async fn body_of(app: &TestApp, header: impl IntoIterator<Item = Node>) -> Vec<String> {
    let result = sent::<Json>(app, Node::chord(header, record())).await;
    ran(app, &result).await;
    records(app)
}

on_every_driver! {
    async fn the_body_takes_the_results_in_order(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = chord((0..10).map(|i| add::s(i, i)), sum::p()).send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 90);
        assert_eq!(body_of(&app, [one(3), one(1), one(2)]).await, ["recorded [3, 1, 2]"]);
        let header = result.parent().unwrap().group().unwrap();
        assert_eq!(header.len(), 10);
        assert_eq!(header[9].get().await.unwrap().decode::<i64>().unwrap(), 18);
        assert!(header.successful().await.unwrap());
        let parent = result.document().await.unwrap().unwrap().parent_id.unwrap();
        assert!(header.contains(&parent), "the body's parent is the part that ended last");
    }

    async fn results_of_the_header_may_be_ignored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = chord([ignored::s(1), ignored::s(2)], sum::p()).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(app.result::<i64>(result.id().clone()).get().timeout(PATIENCE).await.unwrap(), 3);
        for part in &result.parent().unwrap().group().unwrap() {
            assert!(!app.result::<Json>(part.id().clone()).exists().await.unwrap(), "nothing is stored of them");
        }
    }

    async fn an_empty_header_is_an_empty_list(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = chord(Vec::<Signature<(), i64>>::new(), sum::p()).send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 0);
        assert_eq!(body_of(&app, []).await, ["recorded []"]);
        let chain = call("canvas.add", json!([1, 1])).pipe(Node::chord([], record()));
        let result = sent::<Json>(&app, chain).await;
        ran(&app, &result).await;
        assert_eq!(records(&app), ["recorded []"], "also when a worker sends it");
    }

    async fn a_failed_header_fails_the_body(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, Node::chord([one(1), boom(), one(3)], record())).await;
        assert_eq!(raised(&app, &result).await, boomed(), "what is raised is the error of the part");
        let header = result.parent().unwrap().group().unwrap();
        let (error, text) = stored_error(&app, result.id()).await;
        assert_eq!(error, "ChordError");
        assert_eq!(text, format!("Dependency {} raised ValueError('boom')", header[1].id()));
        let states: Vec<_> = header.states().await.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(states, ["SUCCESS", "FAILURE", "SUCCESS"], "the other parts run all the same");
        assert_eq!(records(&app), [""; 0], "and the body does not");
    }

    async fn errbacks_of_the_body_are_called_when_the_header_fails(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut body = record();
        body.link_error(errback(errback1::NAME));
        body.link_error(errback(errback3::NAME));
        let result = sent::<Json>(&app, Node::chord([boom(), one(1)], body)).await;
        app.drain().await;
        let failed = result.parent().unwrap().group().unwrap()[0].id().clone();
        let mut seen = records(&app);
        seen.sort();
        let id = result.id();
        let chord_error = format!("errback3 {id} ChordError: Dependency {failed} raised ValueError('boom')");
        assert_eq!(seen, [format!("errback1 {id}"), chord_error]);
    }

    async fn the_children_of_a_body_that_did_not_run_are_its_errbacks(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut body = record();
        body.link_error(errback(errback1::NAME));
        let result = sent::<Json>(&app, Node::chord([boom(), one(1)], body)).await;
        app.drain().await;
        assert_eq!(records(&app), [format!("errback1 {}", result.id())]);
        // As in Celery: one group of all that was sent.
        let children = result.children().await.unwrap().unwrap();
        let sent = app.sent_by_name(errback1::NAME).remove(0).message.headers.id.unwrap();
        let members: Vec<_> = children.iter().flat_map(|child| child.children.iter().flatten()).collect();
        assert_eq!(members.iter().map(|member| &member.id).collect::<Vec<_>>(), [&sent]);
        assert_eq!(app.result::<String>(sent).get().timeout(PATIENCE).await.unwrap(), result.id().as_str());
    }

    async fn an_errback_of_a_chord_with_a_chord_in_its_header_runs_once(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let inner = Node::chord([boom(), one(1)], call("canvas.sum", json!([])));
        let mut outer = Node::chord([inner, one(2)], record());
        outer.link_error(errback(errback1::NAME));
        outer.link_error(errback(errback3::NAME));
        let result = sent::<Json>(&app, outer).await;
        app.drain().await;
        let mut seen = records(&app);
        seen.sort();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(seen[0], format!("errback1 {}", result.id()), "for the body of the outer chord");
        assert!(seen[1].starts_with(&format!("errback3 {} ChordError", result.id())), "{seen:?}");
        // An errback of the inner chord alone runs for its body.
        let mut inner = Node::chord([boom(), one(1)], call("canvas.sum", json!([])));
        inner.link_error(errback(errback1::NAME));
        let result = sent::<Json>(&app, Node::chord([inner, one(2)], record())).await;
        app.drain().await;
        let header = result.parent().unwrap().group().unwrap();
        assert_eq!(records(&app), [format!("errback1 {}", header[0].id())]);
    }

    async fn an_errback_that_a_setting_gives_to_the_header_takes_arguments_there(fixture: &Fixture) {
        let app = fixture.app(&[("task_allow_error_cb_on_chord_header", "true")]).await;
        let mut chord = Node::chord([one(1), boom()], record());
        chord.link_error(errback(errback1::NAME));
        let result = sent::<Json>(&app, chord).await;
        app.drain().await;
        let failed = result.parent().unwrap().group().unwrap()[1].id().clone();
        let mut seen = records(&app);
        seen.sort();
        let mut expected = [format!("errback1 {failed}"), format!("errback1 {}", result.id())];
        expected.sort();
        assert_eq!(seen, expected);
    }

    async fn each_member_of_a_group_body_fails_with_the_error_of_the_part(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut body = Node::group([record(), record()]);
        body.link_error(errback(errback3::NAME));
        let result = sent::<Json>(&app, Node::chord([boom(), one(1)], body)).await;
        app.drain().await;
        let members = result.group().unwrap();
        let mut expected = Vec::new();
        for member in &members {
            assert_eq!(state(member).await, "FAILURE");
            assert_eq!(stored_error(&app, member.id()).await, boomed());
            expected.push(format!("errback3 {} ValueError: boom", member.id()));
        }
        let mut seen = records(&app);
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    }

    async fn errbacks_of_a_chord_are_the_body_s_and_by_setting_the_header_s_too(fixture: &Fixture) {
        for (setting, at_header) in [("false", false), ("true", true)] {
            let app = fixture.app(&[("task_allow_error_cb_on_chord_header", setting)]).await;
            let mut chord = Node::chord([boom(), one(1), boom()], record());
            chord.set_immutable(true);
            chord.link_error(link(&immutable_call("canvas.record", json!(["errback"]))));
            let chain = call("canvas.same", json!([1])).pipe(chord);
            let result = sent::<Json>(&app, chain).await;
            app.drain().await;
            assert_eq!(state(&result).await, "FAILURE");
            assert_eq!(records(&app).len(), if at_header { 3 } else { 1 }, "{setting}");
        }
    }

    async fn a_link_of_a_chord_is_the_body_s(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut chord = Node::chord([one(1), one(2)], call("canvas.sum", json!([])));
        chord.link(link(&record()));
        let result = sent::<i64>(&app, chord).await;
        assert_eq!(ran(&app, &result).await, 3);
        assert_eq!(records(&app), ["recorded 3"]);
        assert_eq!(result.children().await.unwrap().unwrap().len(), 1);
    }

    async fn the_body_may_be_a_chain_a_group_or_a_chord(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let header = || group([add::s(1, 1), add::s(2, 2)]);
        let chained = (header() | sum::p() | mul::p(10)).send(&app).await.unwrap();
        assert_eq!(ran(&app, &chained).await, 60);
        let grouped = (header() | group([sum::p(), sum::p()])).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(grouped.get().timeout(PATIENCE).await.unwrap(), [6, 6]);
        let inner = Node::chord([call("canvas.sum", json!([])), call("canvas.sum", json!([]))], call("canvas.sum", json!([])));
        let chord = sent::<i64>(&app, Node::chord([one(1), one(2)], inner)).await;
        assert_eq!(ran(&app, &chord).await, 6);
    }

    async fn groups_in_a_header_are_flat_and_in_their_order(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let header = [one(1), Node::group([one(2), Node::group([one(3), one(4)])]), one(5)];
        assert_eq!(body_of(&app, header).await, ["recorded [1, 2, 3, 4, 5]"]);
    }

    async fn chains_and_chords_in_a_header_are_one_part_each(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = Node::chain([call("canvas.add", json!([1, 1])), call("canvas.mul", json!([10]))]);
        let chord = Node::chord([one(3), one(4)], call("canvas.sum", json!([])));
        assert_eq!(body_of(&app, [one(1), chain, chord, one(5)]).await, ["recorded [1, 20, 7, 5]"]);
    }

    async fn a_countdown_is_the_header_s(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut chord = Node::chord([one(1), one(2)], record());
        chord.options_mut().countdown = Some(Duration::from_secs(5));
        let result = sent::<Json>(&app, chord).await;
        app.advance(Duration::from_millis(4900)).await;
        assert_eq!(result.parent().unwrap().group().unwrap().completed_count().await.unwrap(), 0);
        app.advance(Duration::from_millis(100)).await;
        assert_eq!(records(&app), ["recorded [1, 2]"], "and the body comes at once");
    }

    async fn a_part_that_runs_twice_counts_once(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, Node::chord([one(1), one(2), one(3)], record())).await;
        let twice = app.sent_by_name("canvas.same").remove(0);
        app.broker().publish(vec![twice.clone(), twice.clone()]).await.unwrap();
        ran(&app, &result).await;
        app.broker().publish(vec![twice]).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["recorded [1, 2, 3]"]);
    }

    async fn a_body_that_cannot_be_sent_fails(fixture: &Fixture) {
        let app = fixture.app(&[("task_create_missing_queues", "false")]).await;
        let mut body = record();
        body.options_mut().queue = Some("nowhere".into());
        let result = sent::<Json>(&app, Node::chord([one(1), one(2)], body)).await;
        app.drain().await;
        let (error, text) = stored_error(&app, result.id()).await;
        assert_eq!(error, "ChordError");
        assert!(text.starts_with("Callback error: ") && text.contains("nowhere"), "{text}");
        assert!(waiting(&app, "celery").await.is_empty());
    }

    async fn a_chord_inside_a_header_that_fails_fails_the_outer_one(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let inner = Node::chord([boom(), one(1)], call("canvas.sum", json!([])));
        let result = sent::<Json>(&app, Node::chord([inner, one(2)], record())).await;
        app.drain().await;
        assert_eq!(state(&result).await, "FAILURE");
        assert_eq!(stored_error(&app, result.id()).await.0, "ChordError");
        assert!(result.get().timeout(PATIENCE).await.is_err());
        assert_eq!(records(&app), [""; 0]);
    }
}

#[tokio::test]
async fn redis_counts_parts_in_order_and_expires_the_count() {
    let fixture = crate::fixture::Fixture::redis();
    let crate::fixture::Fixture::Redis(database, _) = &fixture else { unreachable!("the fixture is Redis") };
    let app = fixture.app(&[("result_chord_expires", "60")]).await;
    let mut header = Node::group([one(1), one(2)]);
    header.options_mut().task_id = Some("the-header".into());
    let result = sent::<Json>(&app, header.pipe(record())).await;
    let mut connection = database.connection();
    let key = |end: &str| format!("celery-taskset-meta-the-header{end}");
    assert_eq!(connection.get::<_, u64>(key(".s")).unwrap(), 2);
    let ttl = connection.ttl::<_, i64>(key(".s")).unwrap();
    assert!((1..=60).contains(&ttl), "{ttl}");
    ran(&app, &result).await;
    for end in [".s", ".j", ".t", ".d"] {
        assert!(!connection.exists::<_, bool>(key(end)).unwrap(), "{end} is gone with the chord");
    }
    assert_eq!(connection.get::<_, String>(key(".c")).unwrap(), "done");

    // Unordered: the results are in the order in which the parts ended. The first part has a countdown of five seconds.
    let options = Value::Table(vec![("result_chord_ordered".to_owned(), false.into())]);
    let builder = fixture.builder().setting("result_backend_transport_options", options);
    let app = builder.build().await.unwrap();
    let mut delayed = one(1);
    delayed.options_mut().countdown = Some(Duration::from_secs(5));
    send(&app, Node::chord([delayed, one(2)], record())).await.unwrap();
    app.advance(Duration::from_secs(5)).await;
    assert_eq!(records(&app), ["recorded [2, 1]"]);
}
