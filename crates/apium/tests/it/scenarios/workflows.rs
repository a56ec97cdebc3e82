//! Callbacks, errbacks, chains, groups and chords as a caller sees them.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::testing::TestBuilder;

use crate::fixture::{PATIENCE, Records, records};

#[task(name = "flow.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "flow.ident")]
async fn ident(x: Json) -> TaskResult<Json> {
    Ok(x)
}

#[task(name = "flow.ignored", ignore_result)]
async fn ignored(x: i64) -> TaskResult<i64> {
    Ok(x)
}

#[task(name = "flow.tsum")]
async fn tsum(State(records): State<Records>, numbers: Vec<i64>) -> TaskResult<i64> {
    records.add("tsum");
    Ok(numbers.iter().sum())
}

#[task(name = "flow.boom")]
async fn boom(x: Json) -> TaskResult<Json> {
    let _ = x;
    Err(TaskError::of_class("builtins.ValueError", "boom"))
}

/// Records what is stored of its parent when it runs.
#[task(name = "flow.looks")]
async fn looks(ctx: &Ctx, State(records): State<Records>, x: i64) -> TaskResult<()> {
    let parent = ctx.request().headers.parent_id.clone().unwrap();
    let found = ctx.backend().unwrap().stored().unwrap().fetch(&[parent]).await?.remove(0);
    let children = found.as_ref().and_then(|document| document.children.clone()).unwrap_or_default();
    let lists_me = children.iter().any(|child| Some(&child.id) == ctx.request().id());
    records.add(format!("{x} {:?} {lists_me}", found.map(|document| document.state.to_string())));
    Ok(())
}

#[task(name = "flow.eb1")]
async fn eb1(ctx: &Ctx, State(records): State<Records>, id: String) -> TaskResult<()> {
    // An errback that reads its request is sent, too.
    records.add(format!("eb1 {id} {}", ctx.request().headers.parent_id.as_ref().unwrap()));
    Ok(())
}

#[task(name = "flow.eb3")]
async fn eb3(
    State(records): State<Records>,
    request: serde_json::Value,
    exception: ExceptionInfo,
    traceback: Json,
) -> TaskResult<()> {
    let _ = traceback;
    records.add(format!("eb3 {} {exception}", request["id"].as_str().unwrap_or("?")));
    Err(TaskError::failure("the errback failed too"))
}

fn call(name: &str, args: serde_json::Value) -> Node {
    let wire = json!({"task": format!("flow.{name}"), "args": args, "kwargs": {}, "options": {}});
    Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()).unwrap()
}

async fn sent<T>(app: &App, node: Node) -> AsyncResult<T> {
    AsyncResult::of_tuple(app, &apium::canvas::send(app, node).await.unwrap())
}

/// The type and the text of the error that `get` raises.
async fn raised<T: serde::de::DeserializeOwned + Send + 'static>(result: &AsyncResult<T>) -> (String, String) {
    let Err(error) = result.get().timeout(PATIENCE).await else { panic!("{} should fail", result.id()) };
    let exception = error.failure().expect("the failure of a task").exception();
    (exception.exc_type.clone(), exception.message())
}

fn value_error() -> (String, String) {
    ("ValueError".to_owned(), "boom".to_owned())
}

async fn stored(app: &App, id: &TaskId) -> (String, ExceptionInfo) {
    let document = app.result::<Json>(id.clone()).document().await.unwrap().unwrap();
    (document.state.to_string(), ExceptionInfo::from_json(&document.result))
}

/// Callbacks get the result. They are sent when the result is stored, or with it, so that none is lost.
async fn links_follow_what_is_stored(builder: TestBuilder) {
    let app = builder.build().await.unwrap();
    let two = add::s(2, 2).link(add::p(16)).link(ident::si(Json::from_text("\"other\"").unwrap()));
    let result = two.send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 4);
    let children = result.children().await.unwrap().unwrap();
    assert_eq!(children.len(), 1, "two callbacks are one group");
    let group = GroupResult::<Json>::of_tuple(&app, &children[0]);
    let values: Vec<_> = group.get().timeout(PATIENCE).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(values, ["20", "\"other\""]);

    let result = add::s(2, 2).on_success(add::p(16)).send(&app).await.unwrap();
    app.drain().await;
    let children = result.children().await.unwrap().unwrap();
    assert_eq!(children[0].children, None, "a single one is a task");
    assert_eq!(app.result::<i64>(children[0].id.clone()).get().timeout(PATIENCE).await.unwrap(), 20);

    add::s(2, 2).on_success(looks::p()).send(&app).await.unwrap();
    (add::s(3, 3) | looks::p()).send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(records(&app), ["4 Some(\"SUCCESS\") true", "6 Some(\"SUCCESS\") true"]);
}

on_every_driver! {
    async fn a_link_gets_the_result_as_first_argument(fixture: &Fixture) {
        links_follow_what_is_stored(fixture.builder()).await;
        links_follow_what_is_stored(fixture.builder().backend(fixture.other_url())).await;
    }

    async fn errbacks_of_the_old_and_the_new_style(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let failing = boom::s(Json::from_text("1").unwrap()).link_error(eb1::p()).link_error(call("eb3", json!([])).to_wire().unwrap());
        let result = failing.send(&app).await.unwrap();
        app.drain().await;
        let id = result.id();
        let mut seen = records(&app);
        seen.sort();
        assert_eq!(seen, [format!("eb1 {id} {id}"), format!("eb3 {id} ValueError('boom')")]);
        assert_eq!(app.sent_by_name("flow.eb1").len(), 1);
        assert!(app.sent_by_name("flow.eb3").is_empty(), "it was called, not sent");
        let (state, exception) = stored(&app, id).await;
        assert_eq!((state.as_str(), exception.to_string()), ("FAILURE", "ValueError('boom')".to_owned()));
    }

    async fn a_failure_in_a_chain_fails_the_later_steps(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = Node::chain([call("add", json!([1, 1])), call("boom", json!([])), call("add", json!([1]))]);
        let result = sent::<i64>(&app, chain).await;
        app.drain().await;
        assert_eq!(raised(&result).await, value_error());
        let ids = result.as_list();
        for (id, expected) in ids.iter().zip(["FAILURE", "FAILURE", "SUCCESS"]) {
            assert_eq!(app.result::<Json>(id.clone()).state().await.unwrap().as_str(), expected);
        }
        assert_eq!(stored(&app, &ids[0]).await.1, stored(&app, &ids[1]).await.1, "the later step has the same error");
        let first = result.parent().unwrap().parent().unwrap();
        assert_eq!(first.get().timeout(PATIENCE).await.unwrap().decode::<i64>().unwrap(), 2);
        assert_eq!(app.sent_by_name("flow.add").len(), 1, "the third never ran");
    }

    async fn group_order_errors_and_counts(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let members = Node::group([call("ident", json!([1])), call("boom", json!([2])), call("ident", json!([3]))]);
        let group = GroupResult::<Json>::of_tuple(&app, &apium::canvas::send(&app, members).await.unwrap());
        assert!(group.waiting().await.unwrap() && !group.ready().await.unwrap());
        app.drain().await;
        let outcomes = group.get().timeout(PATIENCE).outcomes().await.unwrap();
        let shown: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| match outcome.failure() {
                Some(failure) => failure.exception().to_string(),
                None => outcome.value().unwrap().to_string(),
            })
            .collect();
        assert_eq!(shown, ["1", "ValueError('boom')", "3"]);
        let error = group.get().timeout(PATIENCE).await.unwrap_err();
        assert_eq!(error.failure().unwrap().exception().exc_type, "ValueError");
        assert_eq!(group.completed_count().await.unwrap(), 2);
        assert_eq!((group.ready().await.unwrap(), group.successful().await.unwrap()), (true, false));
        assert_eq!((group.failed().await.unwrap(), group.waiting().await.unwrap()), (true, false));
        let empty = apium::prelude::group(Vec::<Signature<(), i64>>::new()).send(&app).await.unwrap();
        assert!(empty.get().timeout(PATIENCE).await.unwrap().is_empty());
    }

    async fn a_group_and_a_task_are_a_chord_and_a_group_of_one_is_its_member(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let tsum = || call("tsum", json!([]));
        let chord = Node::group([call("add", json!([1, 1])), call("add", json!([2, 2]))]).pipe(tsum());
        assert!(matches!(chord, Node::Chord(_)));
        let result = sent::<i64>(&app, chord).await;
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 6);
        let unrolled = call("add", json!([1, 1])).pipe(Node::group([call("add", json!([3]))]));
        let Node::Chain(chain) = &unrolled else { panic!("a chain of two") };
        assert_eq!(chain.steps.len(), 2);
        let result = sent::<i64>(&app, unrolled).await;
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 5, "a value, not a list");
        let upgraded = add::s(1, 1) | group([add::p(3), add::p(4)]) | tsum::p();
        let result = upgraded.send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 11);
    }

    async fn a_header_that_fails_fails_its_chord(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut body = call("tsum", json!([]));
        body.link_error(call("eb3", json!([])).to_wire().unwrap());
        let header = [call("ident", json!([1])), call("boom", json!([2])), call("ident", json!([3]))];
        let result = sent::<i64>(&app, Node::chord(header, body)).await;
        app.drain().await;
        let header = result.parent().unwrap().group().unwrap();
        let (state, exception) = stored(&app, result.id()).await;
        let text = format!("Dependency {} raised ValueError('boom')", header[1].id());
        assert_eq!((state.as_str(), exception.exc_type.as_str(), exception.message()), ("FAILURE", "ChordError", text.clone()));
        assert_eq!(raised(&result).await, value_error(), "`get` raises the error of the part");
        for index in [0, 2] {
            assert_eq!(header[index].state().await.unwrap(), TaskState::Success);
        }
        assert_eq!(records(&app), [format!("eb3 {} ChordError({})", result.id(), apium::message::repr_value(&Json::from_serialize(&text).unwrap()))]);
    }

    async fn a_chord_completes_once_with_ignored_and_duplicated_headers(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = chord([ignored::s(1), ignored::s(2)], tsum::p()).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(app.result::<i64>(result.id().clone()).get().timeout(PATIENCE).await.unwrap(), 3);
        for part in &result.parent().unwrap().group().unwrap() {
            assert_eq!(app.backend().unwrap().stored().unwrap().fetch(&[part.id().clone()]).await.unwrap(), [None]);
        }
        let header = [call("ident", json!([1])), call("ident", json!([2]))];
        let result = sent::<i64>(&app, Node::chord(header, call("tsum", json!([])))).await;
        let twice = app.sent_by_name("flow.ident").remove(0);
        app.broker().publish(vec![twice]).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 3);
        assert_eq!(app.sent_by_name("flow.tsum").len(), 2, "one body for each of the two chords");
        let empty = sent::<i64>(&app, Node::chord([], call("tsum", json!([])))).await;
        app.drain().await;
        assert_eq!(empty.get().timeout(PATIENCE).await.unwrap(), 0);
        assert_eq!(records(&app), ["tsum", "tsum", "tsum"]);
    }
}
