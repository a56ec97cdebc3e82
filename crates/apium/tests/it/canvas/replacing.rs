//! A task that replaces itself with another signature, or adds one to its chord.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;

use crate::canvas::tasks::{boomed, call, link, raised, ran, sent, state, stored_error};
use crate::fixture::{PATIENCE, Records, records};

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

/// Stamps what replaces the task, and refuses a chord.
async fn stamped(ctx: &Ctx, with: Signature<Anything, Json>) -> TaskResult<Signature<Anything, Json>> {
    match with.task() {
        "celery.chord" => Err(TaskError::of_class("builtins.ValueError", "no chord here")),
        _ => Ok(with.stamp("replaced", ctx.id().map_or("?", |id| id.as_str()))),
    }
}

/// Replaces itself with its argument, which its hook changes.
#[task(name = "canvas.replaced_with_hook", on_replace = stamped)]
async fn replaced_with_hook(ctx: &Ctx, with: WireSignature) -> TaskResult<Json> {
    Err(ctx.replace(with))
}

/// The same as a plain function.
#[task(name = "canvas.plainly_replaced_with_hook", on_replace = stamped)]
fn plainly_replaced_with_hook(ctx: &Ctx, with: WireSignature) -> TaskResult<Json> {
    Err(ctx.replace(with))
}

/// The same as a task class.
struct ReplacedClass;

impl Task for ReplacedClass {
    const NAME: &'static str = "canvas.ReplacedClass";
    type Args = (Json,);
    type Output = Json;

    async fn run(&self, ctx: &Ctx, (with,): (Json,)) -> TaskResult<Json> {
        Err(ctx.replace(with.decode::<WireSignature>()?))
    }

    async fn on_replace(&self, ctx: &Ctx, with: WireSignature) -> TaskResult<WireSignature> {
        Ok(stamped(ctx, Signature::from_wire(&with)?).await?.to_wire()?)
    }
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
        // Celery's error.
        let (class, text) = raised(&app, &result).await;
        assert_eq!((&*class, &*text), ("ImproperlyConfigured", "Cannot replace with an empty chain"));
        let document = result.document().await.unwrap().unwrap();
        assert_eq!(ExceptionInfo::from_json(&document.result).exc_module.as_deref(), Some("celery.exceptions"));
        assert_eq!(state(&result).await, "FAILURE");
        let mut part = same(1);
        part.options_mut().rare_mut().chord = Some(std::sync::Arc::new(link(&record())));
        let result = sent::<Json>(&app, replaced_by(&part)).await;
        let (class, text) = raised(&app, &result).await;
        assert_eq!(class, "ImproperlyConfigured");
        assert_eq!(text, "A signature replacing a task must not be part of a chord");
    }

    async fn a_replacement_that_ends_with_a_group_has_the_list_of_its_results(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let group = || Node::group([call("canvas.sum", json!([])), call("canvas.sum", json!([]))]);
        for (groups, value) in [(1, "[3, 3]"), (2, "[6, 6]"), (4, "[24, 24]")] {
            let row = (0..groups).fold(Node::group([same(1), same(2)]), |before, _| before.pipe(group()));
            let result = sent::<Json>(&app, replaced_by(&row)).await;
            assert_eq!(ran(&app, &result).await.as_str(), value, "{groups}");
            let followed = sent::<Json>(&app, replaced_by(&row).pipe(record())).await;
            ran(&app, &followed).await;
            assert_eq!(records(&app), [format!("recorded {value}")], "the next step runs once");
        }
    }

    async fn an_empty_group_in_the_place_of_a_task_is_an_empty_list(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<Json>(&app, replaced_by(&Node::group([]))).await;
        assert_eq!(ran(&app, &result).await.as_str(), "[]");
        let eager = Signature::<Anything, Json>::of_node(replaced_by(&Node::group([])));
        assert_eq!(eager.apply(&app).await.unwrap().get().timeout(PATIENCE).await.unwrap().as_str(), "[]");
    }

    async fn a_hook_may_change_what_replaces_a_task(fixture: &Fixture) {
        let app = fixture.builder().with(|app| app.register_task(ReplacedClass)).build().await.unwrap();
        for name in [replaced_with_hook::NAME, plainly_replaced_with_hook::NAME, ReplacedClass::NAME] {
            let with = |node: &Node| call(name, json!([serde_json::from_slice::<serde_json::Value>(&link(node).to_json()).unwrap()]));
            let result = sent::<Json>(&app, with(&same(7))).await;
            assert_eq!(ran(&app, &result).await.as_str(), "7", "{name}");
            let headers = app.sent_by_name("canvas.same").pop().unwrap().message.headers;
            assert_eq!(headers.stamps["replaced"].decode::<String>().unwrap(), result.id().as_str(), "{name}");
            let chord = Node::chord([same(1), same(2)], record());
            let refused = sent::<Json>(&app, with(&chord)).await;
            assert_eq!(raised(&app, &refused).await, ("ValueError".to_owned(), "no chord here".to_owned()), "{name}");
            let eager = Signature::<Anything, Json>::of_node(with(&same(8)));
            assert_eq!(eager.apply(&app).await.unwrap().get().timeout(PATIENCE).await.unwrap().as_str(), "8", "{name}");
        }
        assert_eq!(records(&app), [""; 0]);
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
