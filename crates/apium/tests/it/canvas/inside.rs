//! Retries, expiry, ignored results and priorities inside chains and chords.

use std::time::Duration;

use apium::call::Expires;
use apium::canvas::Node;
use apium::prelude::*;

use crate::canvas::tasks::{add, boomed, call, ends, ignored, raised, ran, sent, state, states, stored_error};
use crate::fixture::{PATIENCE, records};

fn retried(how: &str) -> Node {
    call(ends::NAME, json!([how]))
}

fn record() -> Node {
    call("canvas.record", json!([]))
}

fn expiring(mut node: Node) -> Node {
    node.options_mut().expires = Some(Expires::In(Duration::from_secs(3)));
    node
}

on_every_driver! {
    async fn a_chain_and_a_chord_go_on_after_a_retry(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = Node::chain([call("canvas.same", json!(["retried"])), call(ends::NAME, json!([])), record()]);
        let chained = sent::<Json>(&app, chain).await;
        let joined = sent::<Json>(&app, Node::chord([retried("retried"), call("canvas.same", json!([1]))], record())).await;
        app.drain().await;
        assert_eq!(states(&chained).await, ["SUCCESS", "RETRY", "PENDING"]);
        assert_eq!((state(&joined).await.as_str(), records(&app)), ("PENDING", Vec::new()), "a retry is no end");
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&chained).await, ["SUCCESS", "SUCCESS", "SUCCESS"]);
        let mut seen = records(&app);
        seen.sort();
        assert_eq!(seen, ["recorded \"retried\"", "recorded [\"retried\", 1]"]);
    }

    async fn a_retry_that_fails_in_the_end_fails_the_later_steps_and_the_chord(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chained = sent::<Json>(&app, Node::chain([retried("retried and failed"), record()])).await;
        let joined = sent::<Json>(&app, Node::chord([retried("retried and failed"), call("canvas.same", json!([1]))], record())).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&chained).await, ["FAILURE", "FAILURE"]);
        assert_eq!(raised(&app, &chained).await, boomed());
        assert_eq!(stored_error(&app, joined.id()).await.0, "ChordError");
        assert_eq!(records(&app), [""; 0]);
    }

    async fn a_step_that_expires_leaves_the_later_ones_pending(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        // A step is sent when the step before it has ended, and its countdown and expiry start then.
        let mut second = expiring(record());
        second.options_mut().countdown = Some(Duration::from_secs(5));
        let result = sent::<Json>(&app, Node::chain([call("canvas.same", json!([1])), second, record()])).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&result).await, ["SUCCESS", "REVOKED", "PENDING"]);
        assert_eq!(raised(&app, &result).await.0, "TaskRevokedError");
        assert_eq!(records(&app), [""; 0]);
    }

    async fn a_part_that_expires_fails_the_chord(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut delayed = expiring(call("canvas.same", json!([2])));
        delayed.options_mut().countdown = Some(Duration::from_secs(5));
        let result = sent::<Json>(&app, Node::chord([call("canvas.same", json!([1])), delayed], record())).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        let part = result.parent().unwrap().group().unwrap()[1].id().clone();
        assert_eq!(app.result::<Json>(part.clone()).state().await.unwrap(), TaskState::Revoked);
        let (error, text) = stored_error(&app, result.id()).await;
        assert_eq!((error.as_str(), text), ("ChordError", format!("Dependency {part} raised TaskRevokedError('expired')")));
        assert_eq!(records(&app), [""; 0]);
    }

    async fn ignored_results_are_passed_on_all_the_same(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = (ignored::s(4) | add::p(1)).send(&app).await.unwrap();
        app.drain().await;
        let last = app.result::<i64>(result.id().clone());
        assert_eq!(last.get().timeout(PATIENCE).await.unwrap(), 5, "the next step has the value");
        assert!(!app.result::<Json>(result.parent().unwrap().id().clone()).exists().await.unwrap());
        let mut body = record();
        body.options_mut().ignore_result = Some(true);
        let joined = sent::<Json>(&app, Node::chord([call(ignored::NAME, json!([1])), call(ignored::NAME, json!([2]))], body)).await;
        app.drain().await;
        assert_eq!(records(&app), ["recorded [1, 2]"]);
        assert!(!app.result::<Json>(joined.id().clone()).exists().await.unwrap());
    }

    async fn priorities_are_inherited_when_the_setting_is_on(fixture: &Fixture) {
        // Celery's message without a priority has 0.
        let none = fixture.is_redis().then_some(0);
        for (setting, inherited) in [("false", none), ("true", Some(6))] {
            let app = fixture.app(&[("task_inherit_parent_priority", setting)]).await;
            let step = || call("canvas.same", json!([]));
            let mut first = call("canvas.same", json!([1]));
            first.options_mut().priority = Some(6.into());
            first.link(crate::canvas::tasks::link(&step()));
            let mut own = step();
            own.options_mut().priority = Some(2.into());
            let chain = first.pipe(Node::group([step(), step()])).pipe(record()).pipe(own);
            let result = sent::<Json>(&app, chain).await;
            ran(&app, &result).await;
            let mut priorities: Vec<_> = app.sent_by_name("canvas.same").iter().map(|out| out.message.properties.priority).collect();
            assert_eq!(priorities.remove(0), Some(6));
            assert_eq!(priorities.pop(), Some(Some(2)), "an own priority stays");
            assert_eq!(priorities, [inherited; 3], "{setting}");
            assert_eq!(app.sent_by_name("canvas.record")[0].message.properties.priority, inherited, "the body");
        }
    }
}
