//! What tasks can do anywhere, done inside a chain and a chord: retries, expiry, ignored results, priorities.

use std::time::Duration;

use apium::call::Expires;
use apium::canvas::Node;
use apium::prelude::*;

use crate::canvas::tasks::{add, boomed, call, ends, ignored, raised, ran, sent, state, states, stored_error};
use crate::ground::{PATIENCE, notes};

fn retried(how: &str) -> Node {
    call(ends::NAME, json!([how]))
}

fn noted() -> Node {
    call("canvas.noted", json!([]))
}

fn expiring(mut node: Node) -> Node {
    node.options_mut().expires = Some(Expires::In(Duration::from_secs(3)));
    node
}

on_every_driver! {
    async fn feature_3_3_02_and_3_5_01_a_retry_inside_a_chain_and_a_chord_goes_on_after_it(ground: &Ground) {
        let app = ground.app(&[]).await;
        let chain = Node::chain([call("canvas.same", json!(["retried"])), call(ends::NAME, json!([])), noted()]);
        let chained = sent::<Json>(&app, chain).await;
        let joined = sent::<Json>(&app, Node::chord([retried("retried"), call("canvas.same", json!([1]))], noted())).await;
        app.drain().await;
        assert_eq!(states(&chained).await, ["SUCCESS", "RETRY", "PENDING"]);
        assert_eq!((state(&joined).await.as_str(), notes(&app)), ("PENDING", Vec::new()), "a retry is no end");
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&chained).await, ["SUCCESS", "SUCCESS", "SUCCESS"]);
        let mut seen = notes(&app);
        seen.sort();
        assert_eq!(seen, ["noted \"retried\"", "noted [\"retried\", 1]"]);
    }

    async fn feature_3_3_07_and_3_5_09_a_retry_that_fails_in_the_end_fails_what_is_behind_it(ground: &Ground) {
        let app = ground.app(&[]).await;
        let chained = sent::<Json>(&app, Node::chain([retried("retried and failed"), noted()])).await;
        let joined = sent::<Json>(&app, Node::chord([retried("retried and failed"), call("canvas.same", json!([1]))], noted())).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&chained).await, ["FAILURE", "FAILURE"]);
        assert_eq!(raised(&app, &chained).await, boomed());
        assert_eq!(stored_error(&app, joined.id()).await.0, "ChordError");
        assert_eq!(notes(&app), [""; 0]);
    }

    async fn feature_3_3_08_a_step_that_expires_leaves_the_later_ones_pending(ground: &Ground) {
        let app = ground.app(&[]).await;
        // A step is sent when the one before has ended, and what it is given in seconds counts from then.
        let mut second = expiring(noted());
        second.options_mut().countdown = Some(Duration::from_secs(5));
        let result = sent::<Json>(&app, Node::chain([call("canvas.same", json!([1])), second, noted()])).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(states(&result).await, ["SUCCESS", "REVOKED", "PENDING"]);
        assert_eq!(raised(&app, &result).await.0, "TaskRevokedError");
        assert_eq!(notes(&app), [""; 0]);
    }

    async fn feature_3_5_09_a_part_that_expires_fails_the_chord(ground: &Ground) {
        let app = ground.app(&[]).await;
        let mut late = expiring(call("canvas.same", json!([2])));
        late.options_mut().countdown = Some(Duration::from_secs(5));
        let result = sent::<Json>(&app, Node::chord([call("canvas.same", json!([1])), late], noted())).await;
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        let part = result.parent().unwrap().group().unwrap()[1].id().clone();
        assert_eq!(app.result::<Json>(part.clone()).state().await.unwrap(), TaskState::Revoked);
        let (error, text) = stored_error(&app, result.id()).await;
        assert_eq!((error.as_str(), text), ("ChordError", format!("Dependency {part} raised TaskRevokedError('expired')")));
        assert_eq!(notes(&app), [""; 0]);
    }

    async fn feature_3_5_03_and_3_3_02_ignored_results_go_on_all_the_same(ground: &Ground) {
        let app = ground.app(&[]).await;
        let result = (ignored::s(4) | add::p(1)).send(&app).await.unwrap();
        app.drain().await;
        let last = app.result::<i64>(result.id().clone());
        assert_eq!(last.get().timeout(PATIENCE).await.unwrap(), 5, "the next step has the value");
        assert!(!app.result::<Json>(result.parent().unwrap().id().clone()).exists().await.unwrap());
        let mut body = noted();
        body.options_mut().ignore_result = Some(true);
        let joined = sent::<Json>(&app, Node::chord([call(ignored::NAME, json!([1])), call(ignored::NAME, json!([2]))], body)).await;
        app.drain().await;
        assert_eq!(notes(&app), ["noted [1, 2]"]);
        assert!(!app.result::<Json>(joined.id().clone()).exists().await.unwrap());
    }

    async fn feature_3_8_01_and_3_3_06_priorities_are_inherited_where_that_is_set(ground: &Ground) {
        for (setting, inherited) in [("false", 0), ("true", 6)] {
            let app = ground.app(&[("task_inherit_parent_priority", setting)]).await;
            let step = || call("canvas.same", json!([]));
            let mut first = call("canvas.same", json!([1]));
            first.options_mut().priority = Some(6);
            first.link(crate::canvas::tasks::link(&step()));
            let mut own = step();
            own.options_mut().priority = Some(2);
            let chain = first.pipe(Node::group([step(), step()])).pipe(noted()).pipe(own);
            let result = sent::<Json>(&app, chain).await;
            ran(&app, &result).await;
            let mut priorities: Vec<_> = app.sent("canvas.same").iter().map(|out| out.message.properties.priority).collect();
            assert_eq!(priorities.remove(0), Some(6));
            assert_eq!(priorities.pop(), Some(Some(2)), "an own priority stays");
            assert_eq!(priorities, [Some(inherited); 3], "{setting}");
            assert_eq!(app.sent("canvas.noted")[0].message.properties.priority, Some(inherited), "the body");
        }
    }
}
