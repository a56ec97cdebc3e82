//! Captured workflows of a Celery worker, run by a worker of Apium, which must publish and store the same, apart from
//! random ids, times and tracebacks.

use std::collections::HashMap;

use apium::canvas::{Node, send};
use apium::prelude::*;
use apium::testing::TestApp;
use apium_peers::redis::Commands;
use serde_json::Value as Plain;

use crate::canvas::tasks::{call, link};
use crate::fixture::Fixture;

// The tasks of the captured workflows.

#[task(name = "tasks.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "tasks.mul")]
async fn mul(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x * y)
}

#[task(name = "tasks.xsum")]
async fn xsum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

#[task(name = "tasks.echo")]
async fn echo(args: Args, kwargs: Kwargs) -> TaskResult<Plain> {
    let args: Vec<Plain> = args.0.iter().map(|arg| arg.decode()).collect::<Result<_, _>>()?;
    let _ = kwargs;
    Ok(json!({"args": args, "kwargs": {}}))
}

#[task(name = "tasks.fail")]
async fn fail(message: Json) -> TaskResult<i64> {
    let mut exception = ExceptionInfo::new("builtins", "ValueError", "");
    exception.exc_message = vec![message];
    Err(Failure::from_exception(exception).into())
}

#[task(name = "tasks.retry", max_retries = 3)]
async fn retry(ctx: &Ctx, times: u32) -> TaskResult<Value> {
    match ctx.request().retries() {
        retries if retries < times => Err(ctx.retry().countdown(std::time::Duration::ZERO).into()),
        retries => {
            let retries = ("retries".to_owned(), Value::from(i64::from(retries)));
            Ok(Value::Map(vec![("value".to_owned(), Value::from("done")), retries]))
        }
    }
}

#[task(name = "tasks.spawn")]
async fn spawn(n: i64) -> TaskResult<i64> {
    for i in 0..n {
        add::delay(i, i).await?;
    }
    Ok(n)
}

#[task(name = "tasks.replace_me")]
async fn replace_me(ctx: &Ctx, x: i64, y: i64) -> TaskResult<i64> {
    Err(ctx.replace(add::s(x, y).node().clone()))
}

#[task(name = "tasks.on_error")]
async fn on_error(args: Args) -> TaskResult<usize> {
    Ok(args.0.len())
}

#[task(name = "tasks.errback1")]
async fn errback1(failed_id: String) -> TaskResult<String> {
    Ok(format!("failed:{failed_id}"))
}

fn vector(name: &str) -> Plain {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

/// The ids of the captured workflows.
fn id(n: u32) -> String {
    format!("cafe0000-0000-4000-8000-{n:012}")
}

/// A task of a captured workflow, with one of these ids.
fn task(name: &str, args: Plain, n: u32) -> Node {
    let mut node = call(&format!("tasks.{name}"), args);
    node.options_mut().task_id = Some(id(n).into());
    node
}

/// Replaces random ids by numbers, in the order in which they occur, so that runs that differ only in ids are equal.
#[derive(Default)]
struct NumberedIds(HashMap<String, String>);

impl NumberedIds {
    fn numbered(&mut self, value: &Plain) -> Plain {
        match value {
            Plain::String(text) if text.len() == 36 && text.matches('-').count() == 4 && !text.starts_with("cafe") => {
                let next = format!("id {}", self.0.len());
                self.0.entry(text.clone()).or_insert(next).clone().into()
            }
            Plain::Array(items) => items.iter().map(|item| self.numbered(item)).collect(),
            // Null is the same as a missing field.
            Plain::Object(map) => {
                let fields = map.iter().filter(|(name, value)| !value.is_null() && *name != "reply_to");
                Plain::Object(fields.map(|(name, value)| (name.clone(), self.numbered(value))).collect())
            }
            other => other.clone(),
        }
    }

    fn message(&mut self, headers: &Plain, body: &Plain) -> Plain {
        let names = ["task", "id", "group", "group_index", "retries", "root_id", "parent_id", "argsrepr", "kwargsrepr"];
        let more = ["stamped_headers", "stamps", "replaced_task_nesting"];
        let fields: serde_json::Map<_, _> =
            names.into_iter().chain(more).map(|name| (name.to_owned(), headers[name].clone())).collect();
        self.numbered(&json!([fields, body]))
    }

    fn result(&mut self, document: &Plain) -> Plain {
        let names = ["status", "result", "children", "parent_id", "group_id", "task_id"];
        let fields: serde_json::Map<_, _> =
            names.into_iter().map(|name| (name.to_owned(), document[name].clone())).collect();
        self.numbered(&Plain::Object(fields))
    }
}

/// What Celery's worker published and stored: the tasks of the messages, the messages, and the results.
fn captured_outcome(vector: &Plain) -> (Vec<String>, Vec<Plain>, Vec<Plain>) {
    let (mut names, mut tasks) = (NumberedIds::default(), Vec::new());
    let messages = vector["messages_published_by_worker"].as_array().unwrap();
    let messages = messages.iter().map(|message| {
        let envelope: Plain = serde_json::from_str(message["raw"].as_str().unwrap()).unwrap();
        let body = serde_json::from_str(message["body"]["utf8"].as_str().unwrap()).unwrap();
        tasks.push(envelope["headers"]["task"].as_str().unwrap().to_owned());
        names.message(&envelope["headers"], &body)
    });
    let messages = messages.collect();
    let results = vector["all_results"].as_object().unwrap().values();
    let mut results: Vec<_> = results.map(|document| names.result(document)).collect();
    results.sort_by_key(Plain::to_string);
    (tasks, messages, results)
}

/// Sends a workflow, lets a worker run it, and compares the outcome.
async fn check(app: &TestApp, name: &str, node: Node) {
    let (tasks, expected, results) = captured_outcome(&vector(name));
    let mut before: HashMap<&str, usize> = HashMap::new();
    send(app, node).await.unwrap();
    for task in &tasks {
        before.insert(task, app.sent_by_name(task).len());
    }
    app.advance(std::time::Duration::from_secs(1)).await;
    let mut names = NumberedIds::default();
    let mut ids = Vec::new();
    let mut sent_here = Vec::new();
    for task in &tasks {
        let index = before.get_mut(task.as_str()).unwrap();
        let sent =
            app.sent_by_name(task).get(*index).unwrap_or_else(|| panic!("{name}: {task} is sent")).message.clone();
        *index += 1;
        let headers: Plain = serde_json::from_slice(&sent.headers.to_json()).unwrap();
        ids.push(headers["id"].as_str().unwrap().to_owned());
        sent_here.push(names.message(&headers, &serde_json::from_slice(&sent.body).unwrap()));
    }
    for (task, index) in before {
        assert_eq!(app.sent_by_name(task).len(), index, "{name}: no more of {task} is sent");
    }
    assert_eq!(sent_here, expected, "{name}");
    let fixed =
        vector(name)["all_results"].as_object().unwrap().keys().map(|key| key[17..].to_owned()).collect::<Vec<_>>();
    ids.extend(fixed.into_iter().filter(|id| id.starts_with("cafe")));
    ids.sort();
    ids.dedup();
    let mut stored = Vec::new();
    for id in ids {
        if let Some(document) = app.result::<Json>(id).document().await.unwrap() {
            stored.push(names.result(&serde_json::from_slice(&document.to_json()).unwrap()));
        }
    }
    stored.sort_by_key(Plain::to_string);
    assert_eq!(stored, results, "{name}");
}

on_every_driver! {
    async fn callbacks_as_celery_s_worker_sends_them(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut node = task("add", json!([1, 1]), 111);
        node.link(link(&task("mul", json!([3]), 110)));
        check(&app, "flow_link", node).await;
        let mut linked = task("add", json!([1, 1]), 8);
        linked.link(link(&call("tasks.mul", json!([3]))));
        let result = AsyncResult::<i64>::of_tuple(&app, &send(&app, linked).await.unwrap());
        app.drain().await;
        let document = result.document().await.unwrap().unwrap();
        let document = serde_json::from_slice(&document.to_json()).unwrap();
        let expected = NumberedIds::default().result(&vector("result_link_child")["result"]["doc"]);
        assert_eq!(NumberedIds::default().result(&document), expected, "result_link_child");
        let mut node = task("add", json!([1, 1]), 114);
        node.link(link(&task("mul", json!([3]), 112)));
        node.link(link(&task("mul", json!([4]), 113)));
        check(&app, "flow_link_multi", node).await;
        let mut node = task("retry", json!([]), 102);
        if let Node::Task(retry) = &mut node {
            retry.call.arguments.kwargs.push(("times".to_owned(), Json::from_text("1").unwrap()));
        }
        node.link(link(&call("tasks.echo", json!([1]))));
        node.link_error(link(&call("tasks.on_error", json!([]))));
        check(&app, "flow_retry_link", node).await;
    }

    async fn errbacks_as_celery_s_worker_sends_them(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let failing = |n, errback: Node| {
            let mut node = task("fail", json!(["z"]), n);
            node.link_error(link(&errback));
            node
        };
        check(&app, "flow_errback_message", failing(116, task("errback1", json!([]), 115))).await;
        let mut elsewhere = call("elsewhere.errback", json!([]));
        elsewhere.options_mut().queue = Some("other".into());
        elsewhere.options_mut().task_id = Some(id(117).into());
        let node = failing(118, elsewhere);
        // An errback with more arguments is called by the worker, and no message is sent.
        check(&app, "flow_errback_inprocess", failing(126, call("tasks.on_error", json!([])))).await;
        assert!(app.sent_by_name("tasks.on_error").is_empty());
        // The test app consumes all queues, so it would store a failure of this errback: only the message is compared.
        let (_, expected, _) = captured_outcome(&vector("flow_errback_unregistered"));
        send(&app, node).await.unwrap();
        app.drain().await;
        let sent = app.sent_by_name("elsewhere.errback").remove(0);
        let headers: Plain = serde_json::from_slice(&sent.message.headers.to_json()).unwrap();
        let body = serde_json::from_slice(&sent.message.body).unwrap();
        assert_eq!((&*sent.routing_key, vec![NumberedIds::default().message(&headers, &body)]), ("other", expected));
    }

    async fn chains_as_celery_s_worker_continues_and_fails_them(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = [task("add", json!([2, 3]), 103), task("mul", json!([4]), 104), task("mul", json!([5]), 105)];
        check(&app, "flow_chain3", Node::chain(chain)).await;
        let mut chain = Node::chain([task("add", json!([1, 1]), 106), task("fail", json!([]), 107), task("mul", json!([5]), 108)]);
        chain.link_error(link(&task("on_error", json!([]), 109)));
        check(&app, "flow_chain_failure", chain).await;
    }

    async fn chords_as_celery_s_worker_ends_them(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut last = task("add", json!([1, 1]), 131);
        // In the captured run the second part ended last.
        last.options_mut().countdown = Some(std::time::Duration::from_secs(1));
        let header = [task("add", json!([0, 1]), 130), last, task("add", json!([2, 1]), 132)];
        check(&app, "flow_chord", Node::chord(header, task("xsum", json!([]), 139))).await;
        let header = [task("add", json!([1, 1]), 140), task("fail", json!(["in chord"]), 141)];
        check(&app, "flow_chord_failure", Node::chord(header, task("xsum", json!([]), 149))).await;
        let group = Node::group([task("mul", json!([2]), 151), task("mul", json!([3]), 152)]);
        let chain = task("add", json!([1, 2]), 150).pipe(group).pipe(task("xsum", json!([]), 153));
        check(&app, "flow_chain_chord", chain).await;
    }

    async fn replaced_spawned_and_stamped_tasks_as_celery_s_worker_sends_them(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        check(&app, "flow_replace", task("replace_me", json!([1, 1]), 120)).await;
        let mut chain = Node::chain([task("add", json!([1, 1]), 160), task("mul", json!([2]), 161)]);
        let stamps = [("who".to_owned(), Json::from_text("\"me\"").unwrap())].into();
        chain.stamp(&mut apium::canvas::FixedStamps, &stamps, false).unwrap();
        check(&app, "flow_stamped_chain", chain).await;
        check(&app, "flow_spawn", task("spawn", json!([2]), 119)).await;
    }
}

/// Compares what Redis counts of a chord while one part has not ended.
async fn counted(name: &str, header: impl FnOnce(Node) -> Vec<Node>, delayed: u32, body: u32) {
    let fixture = Fixture::redis();
    let Fixture::Redis(database, _) = &fixture else { unreachable!("the fixture is Redis") };
    let app = fixture.app(&[]).await;
    let vector = vector(name);
    let group = vector["group_id"].as_str().unwrap();
    let mut delayed = task("add", json!([1, 2]), delayed);
    delayed.options_mut().countdown = Some(std::time::Duration::from_secs(3));
    let mut header = Node::group(header(delayed));
    header.options_mut().task_id = Some(group.into());
    let result =
        AsyncResult::<Plain>::of_tuple(&app, &send(&app, header.pipe(task("echo", json!([]), body))).await.unwrap());
    app.drain().await;
    let mut connection = database.connection();
    let key = |end: &str| format!("celery-taskset-meta-{group}{end}");
    let captured = |end: &str| vector["keys_while_running"][key(end)]["value"].clone();
    assert_eq!(connection.get::<_, String>(key(".s")).unwrap(), captured(".s").as_str().unwrap());
    let mut counted: Vec<String> = connection.smembers(key(".d")).unwrap();
    counted.sort();
    assert_eq!(json!(counted), captured(".d"));
    let parts: Vec<(String, f64)> = connection.zrange_withscores(key(".j"), 0, -1).unwrap();
    assert_eq!(json!(parts), captured(".j"));
    app.advance(std::time::Duration::from_secs(3)).await;
    assert_eq!(result.get().await.unwrap(), vector["body_result"]["doc"]["result"]);
    let mut keys: Vec<String> = connection.keys(key("*")).unwrap();
    keys.sort();
    assert_eq!(keys, [key(".c")]);
    assert_eq!(connection.get::<_, String>(key(".c")).unwrap(), "done");
}

#[tokio::test]
async fn the_count_of_a_chord_is_that_of_celery() {
    let add = |x: i64, n| task("add", json!([x, x]), n);
    counted("chord_keys_running", |delayed| vec![add(1, 201), delayed, add(5, 203)], 202, 209).await;
    let chain = || add(1, 221).pipe(task("mul", json!([2]), 222));
    counted("chord_keys_unnested_result", |delayed| vec![chain(), delayed], 223, 229).await;
}
