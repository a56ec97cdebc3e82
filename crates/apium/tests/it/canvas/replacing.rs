//! A task that replaces itself with another signature, or adds one to its chord.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;

use crate::canvas::tasks::{boomed, call, link, raised, ran, sent, state, stored_error};
use crate::fixture::{Records, records};

/// Replaces itself with its argument.
#[task(name = "canvas.replaced")]
async fn replaced(ctx: &Ctx, with: WireSignature) -> TaskResult<Json> {
    Err(ctx.replace(with))
}

/// Adds one more task to its chord, `more` times.
#[task(name = "canvas.grows")]
async fn grows(ctx: &Ctx, State(records): State<Records>, more: i64) -> TaskResult<i64> {
    if more > 0 {
        let added = ctx.add_to_chord(call("canvas.grows", json!([more - 1]))).await?;
        records.add(format!("added {}", added.id));
    }
    Ok(more)
}

/// A task that is replaced by `with`.
fn replaced_by(with: &Node) -> Node {
    let with: serde_json::Value = serde_json::from_slice(&link(with).to_json()).unwrap();
    call("canvas.replaced", json!([with]))
}

fn same(i: i64) -> Node {
    call("canvas.same", json!([i]))
}

fn add(i: i64) -> Node {
    call("canvas.add", json!([i]))
}

fn record() -> Node {
    call("canvas.record", json!([]))
}

on_every_driver! {
    async fn a_replacement_has_the_id_of_the_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, replaced_by(&same(7))).await;
        assert_eq!(ran(&app, &result).await.as_str(), "7");
        let headers = app.sent_by_name("canvas.same").remove(0).message.headers;
        assert_eq!((headers.id.as_ref(), headers.replaced_task_nesting), (Some(result.id()), 1));
        assert_eq!((headers.parent_id.as_ref(), headers.root_id.as_ref()), (Some(result.id()), Some(result.id())));
        let twice = sent::<Json>(&app, replaced_by(&replaced_by(&same(8)))).await;
        assert_eq!(ran(&app, &twice).await.as_str(), "8");
        assert_eq!(app.sent_by_name("canvas.same")[1].message.headers.replaced_task_nesting, 2);
    }

    async fn a_chain_a_group_and_a_chord_may_replace_a_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let group = || Node::group([same(1), same(2)]);
        for (with, value) in [
            (same(1).pipe(add(1)).pipe(add(2)), "4"),
            (group(), "[1, 2]"),
            (same(1).pipe(Node::group([add(1), add(2)])), "[2, 3]"),
            (group().pipe(call("canvas.sum", json!([]))), "3"),
        ] {
            let result = sent::<Json>(&app, replaced_by(&with)).await;
            assert_eq!(ran(&app, &result).await.as_str(), value);
        }
    }

    async fn the_chain_goes_on_after_the_replacement_of_a_step(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let group = Node::group([same(1), same(2)]);
        for (with, value) in [(same(1), "3"), (same(1).pipe(add(5)), "8")] {
            let result = sent::<Json>(&app, replaced_by(&with).pipe(add(2))).await;
            assert_eq!(ran(&app, &result).await.as_str(), value);
            assert_eq!(state(result.parent().unwrap()).await, "SUCCESS");
        }
        let result = sent::<Json>(&app, replaced_by(&group).pipe(call("canvas.sum", json!([]))).pipe(add(1))).await;
        assert_eq!(ran(&app, &result).await.as_str(), "4");
        let failing = sent::<Json>(&app, replaced_by(&call("canvas.boom", json!([0]))).pipe(record())).await;
        assert_eq!(raised(&app, &failing).await, boomed());
        assert_eq!(stored_error(&app, failing.id()).await, boomed(), "and fails with it");
        assert_eq!(records(&app), [""; 0]);
    }

    async fn the_replacement_of_a_part_is_that_part(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let group = Node::group([same(5), same(6)]);
        let header = [same(1), replaced_by(&same(2)), replaced_by(&same(3).pipe(add(1))), replaced_by(&group)];
        let result = sent::<Json>(&app, Node::chord(header, record())).await;
        ran(&app, &result).await;
        assert_eq!(records(&app), ["recorded [1, 2, 4, [5, 6]]"]);
        let failing = Node::chord([same(1), replaced_by(&call("canvas.boom", json!([0])))], record());
        let result = sent::<Json>(&app, failing).await;
        assert_eq!(raised(&app, &result).await, boomed());
        assert_eq!(stored_error(&app, result.id()).await.0, "ChordError");
    }

    async fn callbacks_and_errbacks_go_to_the_replacement(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let linked = |with: &Node| {
            let mut node = replaced_by(with);
            node.link(link(&record()));
            node.link_error(link(&call("canvas.errback1", json!([]))));
            node
        };
        let result = sent::<Json>(&app, linked(&same(1).pipe(add(1)))).await;
        ran(&app, &result).await;
        assert_eq!(records(&app), ["recorded 2"], "once, with the value of the whole chain");
        let result = sent::<Json>(&app, linked(&call("canvas.boom", json!([0])))).await;
        raised(&app, &result).await;
        assert_eq!(records(&app), [format!("errback1 {}", result.id())]);
    }

    async fn an_empty_chain_replaces_nothing(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, replaced_by(&Node::chain([]))).await;
        let (_, text) = raised(&app, &result).await;
        assert!(text.contains("replace a task with an empty chain"), "{text}");
        assert_eq!(state(&result).await, "FAILURE");
    }

    async fn a_task_adds_others_to_its_chord(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, Node::chord([call("canvas.grows", json!([2])), same(10)], record())).await;
        ran(&app, &result).await;
        let mut seen = records(&app);
        let body = seen.pop().unwrap();
        assert_eq!(seen.len(), 2);
        let mut values: Vec<i64> = serde_json::from_str(body.strip_prefix("recorded ").unwrap()).unwrap();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 10], "the body waits for all of them");
        let alone = sent::<Json>(&app, call("canvas.grows", json!([1]))).await;
        let (_, text) = raised(&app, &alone).await;
        assert!(text.contains("this task is not a part of a chord"), "{text}");
    }
}
