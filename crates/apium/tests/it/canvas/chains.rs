//! Chains, and the forms of a call.

use std::time::Duration;

use apium::canvas::Node;
use apium::driver::Outgoing;
use apium::prelude::*;

use crate::canvas::tasks::{
    add, boomed, call, ends, immutable_call, link, mul, raised, ran, record, same, sent, state, states, stored_error,
    sum,
};
use crate::fixture::{only, records, waiting};

on_every_driver! {
    async fn every_form_of_a_call(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(add(2, 2).await.unwrap(), 4, "called as the function it is");
        assert_eq!(add::s(2, 2).apply(&app).await.unwrap().get().await.unwrap(), 4, "run eagerly");
        assert!(waiting(&app, "celery").await.is_empty());
        let calls = [
            add::delay(2, 2).send(&app).await.unwrap(),
            add::s(2, 2).queue("other").send(&app).await.unwrap(),
            add::p(2).partial(2).send(&app).await.unwrap(),
            add::si(2, 2).send(&app).await.unwrap(),
        ];
        app.drain().await;
        for result in &calls {
            assert_eq!(result.get().await.unwrap(), 4);
        }
    }

    async fn the_previous_result_is_the_first_argument_or_is_ignored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let power = app.sig("canvas.mul").args((3,)).signature();
        let chain = add::s(2, 2) | power.cast::<i64, i64>() | add::si(1, 1) | mul::p(5);
        let result = chain.send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 10);
        assert_eq!(result.parent().unwrap().parent().unwrap().get().await.unwrap().decode::<i64>().unwrap(), 12);
        let kwargs = app.sig("canvas.add").kwarg("y", 5).signature().cast::<i64, i64>();
        let result = (add::s(2, 2) | kwargs).send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 9);
    }

    async fn a_frozen_chain_is_found_by_its_ids(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut chain = add::s(2, 2) | add::p(3);
        let frozen = chain.freeze(&app).unwrap();
        assert_eq!(state(&frozen).await, "PENDING");
        chain.send(&app).await.unwrap();
        assert_eq!(ran(&app, &frozen).await, 7);
        assert_eq!(states(&frozen).await, ["SUCCESS", "SUCCESS"]);
    }

    async fn a_step_may_be_unknown_to_the_sender(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = Node::chain([call("canvas.add", json!([1, 1])), call("nobody.knows", json!([])), call("canvas.same", json!([]))]);
        let result = sent::<Json>(&app, chain).await;
        let (error, text) = raised(&app, &result).await;
        assert_eq!(error, "NotRegistered", "{text}");
    }

    async fn the_result_of_a_chain_is_the_last_one_with_the_others_as_parents(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = (add::s(2, 3) | mul::p(4) | mul::p(5)).send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 100);
        let ids = result.as_list();
        let values = [result.parent().unwrap(), result.parent().unwrap().parent().unwrap()];
        assert_eq!(values[0].get().await.unwrap().decode::<i64>().unwrap(), 20);
        assert_eq!(values[1].get().await.unwrap().decode::<i64>().unwrap(), 5);
        assert!(values[1].parent().is_none());
        for (index, id) in ids.iter().enumerate().take(2) {
            let document = app.result::<i64>(id.clone()).document().await.unwrap().unwrap();
            assert_eq!(document.parent_id.as_ref(), Some(&ids[index + 1]));
            let children = app.result::<i64>(ids[index + 1].clone()).children().await.unwrap().unwrap();
            assert_eq!(children[0].id, *id, "and the next step is a child of the step before it");
        }
        let roots: Vec<_> = app.sent_by_name("canvas.mul").into_iter().map(|out| out.message.headers.root_id.unwrap()).collect();
        assert!(roots.iter().all(|root| *root == ids[2]), "{roots:?}");
    }

    async fn options_of_a_chain_on_a_worker(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut chain = Node::chain([call("canvas.add", json!([2, 2])), call("canvas.add", json!([1]))]);
        chain.options_mut().task_id = Some("the-last".into());
        chain.options_mut().countdown = Some(Duration::from_secs(5));
        chain.link(link(&call("canvas.record", json!([]))));
        let result = sent::<i64>(&app, chain).await;
        assert_eq!(result.id().as_str(), "the-last");
        app.drain().await;
        assert_eq!(state(&result).await, "PENDING", "the first step waits");
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(ran(&app, &result).await, 5);
        assert_eq!(records(&app), ["recorded 5"]);
    }

    async fn later_steps_travel_as_the_text_that_they_came_as(fixture: &Fixture) {
        const STEPS: usize = 40;
        let app = fixture.app(&[]).await;
        // Read and written again it would have other blanks, another order of its options, and another number.
        let args = r#"[[1.0e5,{"b" : 1,"a":2}]]"#;
        let step = |number: usize| format!(r#"{{"args":{args},"task":"canvas.same","immutable" : true,"options":{{"task_id":"step {number}","countdown":0.0,"chain":null}}}}"#);
        let behind = |number: usize| (number + 1..STEPS).rev().map(step).collect::<Vec<_>>().join(",  ");
        let body = |number: usize| format!(r#"[{args}, {{}}, {{"callbacks": null, "errbacks": null, "chain": [{}], "chord": null}}]"#, behind(number));
        same::delay(Json::NULL).task_id("step 0").send(&app).await.unwrap();
        let mut first = only(&app).await;
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        first.body = body(0).into();
        app.publisher().publish(vec![Outgoing::to_queue("celery", first)]).await.unwrap();
        assert_eq!(app.drain().await, STEPS as u64);
        let sent = app.sent_by_name("canvas.same").split_off(1);
        assert_eq!(sent.len(), STEPS);
        for (number, outgoing) in sent.iter().enumerate() {
            assert_eq!(outgoing.message.headers.id.as_ref().unwrap().as_str(), format!("step {number}"));
            assert_eq!(std::str::from_utf8(&outgoing.message.body).unwrap(), body(number), "{number}");
        }
    }

    async fn a_failure_is_the_result_of_every_later_step(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = Node::chain([call("canvas.add", json!([1, 1])), call("canvas.boom", json!([])), call("canvas.record", json!([])), call("canvas.record", json!([]))]);
        let result = sent::<Json>(&app, chain).await;
        assert_eq!(raised(&app, &result).await, boomed());
        assert_eq!(states(&result).await, ["SUCCESS", "FAILURE", "FAILURE", "FAILURE"]);
        for id in &result.as_list()[..3] {
            assert_eq!(stored_error(&app, id).await, boomed());
        }
        assert_eq!(records(&app), [""; 0], "no later step ran");
    }

    async fn a_chain_that_fails_in_a_header_is_a_part_that_failed(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let failing = Node::chain([call("canvas.boom", json!([1])), call("canvas.same", json!([]))]);
        let result = sent::<i64>(&app, Node::chord([failing, call("canvas.same", json!([1]))], call("canvas.sum", json!([])))).await;
        assert_eq!(raised(&app, &result).await, boomed());
        let (error, text) = stored_error(&app, result.id()).await;
        let last = result.parent().unwrap().group().unwrap()[0].id().clone();
        assert_eq!((error.as_str(), text), ("ChordError", format!("Dependency {last} raised ValueError('boom')")));
    }

    async fn a_step_that_never_ran_leaves_the_later_ones_pending(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut first = call("canvas.add", json!([1, 1]));
        first.options_mut().expires = Some(apium::call::Expires::In(Duration::from_secs(5)));
        let result = sent::<Json>(&app, Node::chain([first, call("canvas.record", json!([])), call("canvas.record", json!([]))])).await;
        app.clock().advance(Duration::from_secs(6));
        let (error, text) = raised(&app, &result).await;
        assert_eq!((error.as_str(), text.as_str()), ("TaskRevokedError", "expired"), "`get` does not wait for ever");
        assert_eq!(states(&result).await, ["REVOKED", "PENDING", "PENDING"]);
        assert_eq!(records(&app), [""; 0]);
    }

    async fn a_chain_stops_at_a_step_that_is_ignored_or_rejected(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (how, first) in [("ignored", "PENDING"), ("rejected", "FAILURE")] {
            let chain = ends::s(how.into()).cast::<(), Json>() | record::p();
            let result = chain.send(&app).await.unwrap();
            app.drain().await;
            assert_eq!(states(&result).await, [first, "PENDING"], "{how}");
            assert_eq!(records(&app), [""; 0], "{how}");
        }
    }

    async fn a_chain_waits_for_a_group_in_its_middle(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = add::s(1, 1) | group([add::p(1), add::p(2)]) | sum::p() | group([mul::p(10), mul::p(100)]) | sum::p() | add::p(1);
        let result = chain.send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 771);
        let header = result.parent().unwrap().parent().unwrap().group().unwrap();
        let values: Vec<_> = header.get().await.unwrap().iter().map(|json| json.decode::<i64>().unwrap()).collect();
        assert_eq!(values, [70, 700]);
    }

    async fn a_chain_of_chords(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let twice = || Node::group([call("canvas.add", json!([1])), call("canvas.add", json!([2]))]);
        let sum = || call("canvas.sum", json!([]));
        let chain = Node::chain([call("canvas.add", json!([1, 1])), twice(), sum(), twice(), sum(), twice()]);
        let result = AsyncResult::<Vec<i64>>::of_tuple(&app, &apium::canvas::send(&app, chain).await.unwrap());
        // 2 → 3, 4 → 7 → 8, 9 → 17 → 18, 19
        assert_eq!(ran(&app, &result).await, [18, 19]);
    }

    async fn leading_groups_and_chains_take_the_arguments_of_the_call(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let doubled: Signature<i64, i64> = mul::p(2) | mul::p(2);
        let result = (doubled | mul::p(2)).partial(3).send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 24);
        let spread = group([add::p(1), add::p(2)]).partial(3) | sum::p();
        let result = spread.send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 9);
    }

    async fn errbacks_of_a_chain_are_called_for_the_step_that_failed(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut chain = Node::chain([
            call("canvas.add", json!([1, 1])),
            call("canvas.boom", json!([])),
            immutable_call("canvas.record", json!([1])),
        ]);
        chain.link_error(link(&call("canvas.errback1", json!([]))));
        let result = sent::<Json>(&app, chain).await;
        assert_eq!(raised(&app, &result).await, boomed());
        assert_eq!(records(&app), [format!("errback1 {}", result.as_list()[1])], "once, and for no later step");
    }
}
