//! A task that puts another signature in its own place, or adds one to its chord: FEATURES 1.5.19 and 1.5.20.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;

use crate::canvas::tasks::{boomed, call, link, raised, ran, sent, state, stored_error};
use crate::ground::{Notes, notes};

/// Puts what it is given in its place.
#[task(name = "canvas.replaced")]
async fn replaced(ctx: &Ctx, with: WireSignature) -> TaskResult<Json> {
    Err(ctx.replace(with))
}

/// Puts one more task into its chord, unless there are enough.
#[task(name = "canvas.grows")]
async fn grows(ctx: &Ctx, State(notes): State<Notes>, more: i64) -> TaskResult<i64> {
    if more > 0 {
        let added = ctx.add_to_chord(call("canvas.grows", json!([more - 1]))).await?;
        notes.add(format!("added {}", added.id));
    }
    Ok(more)
}

/// A task that is replaced by `with`.
fn by(with: &Node) -> Node {
    let with: serde_json::Value = serde_json::from_slice(&link(with).to_json()).unwrap();
    call("canvas.replaced", json!([with]))
}

fn same(i: i64) -> Node {
    call("canvas.same", json!([i]))
}

fn add(i: i64) -> Node {
    call("canvas.add", json!([i]))
}

fn noted() -> Node {
    call("canvas.noted", json!([]))
}

on_every_driver! {
    async fn feature_1_5_19_what_replaces_a_task_has_its_id(ground: &Ground) {
        let app = ground.app(&[]).await;
        let result = sent::<Json>(&app, by(&same(7))).await;
        assert_eq!(ran(&app, &result).await.as_str(), "7");
        let headers = app.sent("canvas.same").remove(0).message.headers;
        assert_eq!((headers.id.as_ref(), headers.replaced_task_nesting), (Some(result.id()), 1));
        assert_eq!((headers.parent_id.as_ref(), headers.root_id.as_ref()), (Some(result.id()), Some(result.id())));
        let twice = sent::<Json>(&app, by(&by(&same(8)))).await;
        assert_eq!(ran(&app, &twice).await.as_str(), "8");
        assert_eq!(app.sent("canvas.same")[1].message.headers.replaced_task_nesting, 2);
    }

    async fn feature_1_5_19_a_chain_a_group_and_a_chord_may_replace_a_task(ground: &Ground) {
        let app = ground.app(&[]).await;
        let group = || Node::group([same(1), same(2)]);
        for (with, value) in [
            (same(1).pipe(add(1)).pipe(add(2)), "4"),
            (group(), "[1, 2]"),
            (same(1).pipe(Node::group([add(1), add(2)])), "[2, 3]"),
            (group().pipe(call("canvas.sum", json!([]))), "3"),
        ] {
            let result = sent::<Json>(&app, by(&with)).await;
            assert_eq!(ran(&app, &result).await.as_str(), value);
        }
    }

    async fn feature_1_5_19_the_chain_goes_on_after_what_replaced_a_step(ground: &Ground) {
        let app = ground.app(&[]).await;
        let group = Node::group([same(1), same(2)]);
        for (with, value) in [(same(1), "3"), (same(1).pipe(add(5)), "8")] {
            let result = sent::<Json>(&app, by(&with).pipe(add(2))).await;
            assert_eq!(ran(&app, &result).await.as_str(), value);
            assert_eq!(state(result.parent().unwrap()).await, "SUCCESS");
        }
        let result = sent::<Json>(&app, by(&group).pipe(call("canvas.sum", json!([]))).pipe(add(1))).await;
        assert_eq!(ran(&app, &result).await.as_str(), "4");
        let failing = sent::<Json>(&app, by(&call("canvas.boom", json!([0]))).pipe(noted())).await;
        assert_eq!(raised(&app, &failing).await, boomed());
        assert_eq!(stored_error(&app, failing.id()).await, boomed(), "and fails with it");
        assert_eq!(notes(&app), [""; 0]);
    }

    async fn feature_1_5_19_what_replaced_a_part_is_that_part(ground: &Ground) {
        let app = ground.app(&[]).await;
        let group = Node::group([same(5), same(6)]);
        let header = [same(1), by(&same(2)), by(&same(3).pipe(add(1))), by(&group)];
        let result = sent::<Json>(&app, Node::chord(header, noted())).await;
        ran(&app, &result).await;
        assert_eq!(notes(&app), ["noted [1, 2, 4, [5, 6]]"]);
        let failing = Node::chord([same(1), by(&call("canvas.boom", json!([0])))], noted());
        let result = sent::<Json>(&app, failing).await;
        assert_eq!(raised(&app, &result).await, boomed());
        assert_eq!(stored_error(&app, result.id()).await.0, "ChordError");
    }

    async fn feature_1_5_19_callbacks_and_errbacks_go_to_what_replaced_the_task(ground: &Ground) {
        let app = ground.app(&[]).await;
        let linked = |with: &Node| {
            let mut node = by(with);
            node.link(link(&noted()));
            node.link_error(link(&call("canvas.errback1", json!([]))));
            node
        };
        let result = sent::<Json>(&app, linked(&same(1).pipe(add(1)))).await;
        ran(&app, &result).await;
        assert_eq!(notes(&app), ["noted 2"], "once, with the value of all");
        let result = sent::<Json>(&app, linked(&call("canvas.boom", json!([0])))).await;
        raised(&app, &result).await;
        assert_eq!(notes(&app), [format!("errback1 {}", result.id())]);
    }

    async fn feature_1_5_19_an_empty_chain_replaces_nothing(ground: &Ground) {
        let app = ground.app(&[]).await;
        let result = sent::<Json>(&app, by(&Node::chain([]))).await;
        let (_, text) = raised(&app, &result).await;
        assert!(text.contains("replace a task with an empty chain"), "{text}");
        assert_eq!(state(&result).await, "FAILURE");
    }

    async fn feature_1_5_20_a_task_adds_others_to_its_chord(ground: &Ground) {
        let app = ground.app(&[]).await;
        let result = sent::<Json>(&app, Node::chord([call("canvas.grows", json!([2])), same(10)], noted())).await;
        ran(&app, &result).await;
        let mut seen = notes(&app);
        let body = seen.pop().unwrap();
        assert_eq!(seen.len(), 2);
        let mut values: Vec<i64> = serde_json::from_str(body.strip_prefix("noted ").unwrap()).unwrap();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 10], "the body waits for all of them");
        let alone = sent::<Json>(&app, call("canvas.grows", json!([1]))).await;
        let (_, text) = raised(&app, &alone).await;
        assert!(text.contains("this task is not a part of one"), "{text}");
    }
}
