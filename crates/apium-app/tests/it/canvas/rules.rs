//! What signatures are and how they join, before anything is sent, as far as no worker is needed.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::canvas::node::{ChainNode, ChordNode, GroupNode, Node};
use apium_app::canvas::plan::SendWith;
use apium_app::canvas::send::{send, send_with};
use apium_app::error::ErrorKind;
use apium_app::options::call_options::CallOptions;
use apium_app::signature::chain::chain;
use apium_app::signature::group::group;
use apium_app::signature::signature::Signature;
use apium_app::task::arguments::Arguments;
use apium_protocol::json::text::Json;
use apium_protocol::message::message::Message;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use serde_json::{Value, json};

use crate::kit::{self, Add, Sent};

fn wire(name: &str, args: Value, options: Value) -> WireSignature {
    let wire = json!({"task": name, "args": args, "kwargs": {}, "options": options});
    WireSignature::from_json(wire.to_string().as_bytes()).unwrap()
}

/// A task `name` without arguments.
pub(crate) fn task(name: &str) -> Node {
    Node::from_wire(&wire(name, json!([]), json!({}))).unwrap()
}

fn tasks(names: &str) -> Vec<Node> {
    names.chars().map(|name| task(&name.to_string())).collect()
}

/// The kinds and names of a signature, in short: `a`, `chain(a, b)`, `group(a, b)`, `chord(a, b; c)`.
pub(crate) fn shape(node: &Node) -> String {
    let list = |nodes: &[Node]| nodes.iter().map(shape).collect::<Vec<_>>().join(", ");
    match node {
        Node::Task(task) => task.call.task.to_string(),
        Node::Chain(chain) => format!("chain({})", list(&chain.steps)),
        Node::Group(group) => format!("group({})", list(&group.members)),
        Node::Chord(chord) => format!("chord({}; {})", list(&chord.header.members), shape(&chord.body)),
    }
}

fn json_of(node: &Node) -> Value {
    serde_json::from_slice(&node.to_wire().unwrap().to_json()).unwrap()
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

fn names(links: &[WireSignature]) -> Vec<&str> {
    links.iter().map(|link| &*link.task).collect()
}

fn links(node: &Node) -> Vec<&str> {
    node.options().rare.as_ref().map_or_else(Vec::new, |rare| names(&rare.link))
}

fn errbacks(node: &Node) -> Vec<&str> {
    node.options().rare.as_ref().map_or_else(Vec::new, |rare| names(&rare.link_error))
}

fn arguments(args: Value, kwargs: Value) -> Arguments {
    let json = |value: &Value| Json::from_serialize(value).unwrap();
    Arguments::new(
        args.as_array().unwrap().iter().map(json).collect(),
        kwargs.as_object().unwrap().iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    )
}

fn with_priority(priority: u8) -> CallOptions {
    let mut options = CallOptions::default();
    options.priority = Some(priority.into());
    options
}

/// Sends a node that makes one message, and returns that message.
async fn sent(app: &App, sent: &Sent, node: Node, given: SendWith) -> Message {
    send_with(app, node, given).await.unwrap();
    sent.one().message
}

#[test]
fn feature_3_1_01_a_signature_is_a_map_of_six_entries() {
    let mut signature = Add::s(2, 3).queue("q").into_immutable();
    signature.options_mut().priority = Some(3.into());
    let expected = json!({
        "task": "tasks.add", "args": [2, 3], "kwargs": {}, "options": {"queue": "q", "priority": 3},
        "subtask_type": null, "immutable": true,
    });
    assert_eq!(json_of(signature.node()), expected);
    // Older versions of Celery write the number of parts of a chord into the options of its body. It is ignored.
    let old = wire("body", json!([]), json!({"chord_size": 3, "queue": "q"}));
    assert_eq!(json_of(&Node::from_wire(&old).unwrap())["options"], json!({"queue": "q"}));
}

#[test]
fn feature_3_1_02_and_3_1_11_arguments_options_and_what_is_read_of_them() {
    let signature = Add::s(2, 3).kwarg("z", 4).task_id("mine").root_id("root").parent_id("parent");
    assert_eq!((signature.task(), signature.id().unwrap().as_str()), ("tasks.add", "mine"));
    let args: Vec<&str> = signature.args().iter().map(Json::as_str).collect();
    assert_eq!(args, ["2", "3"]);
    assert_eq!(signature.kwargs()[0].0, "z");
    let rare = signature.options().rare.as_ref().unwrap();
    let id = |id: &Option<TaskId>| id.as_ref().unwrap().to_string();
    assert_eq!((id(&rare.root_id), id(&rare.parent_id)), ("root".to_owned(), "parent".to_owned()));
}

#[tokio::test]
async fn feature_3_1_04_and_3_3_04_later_arguments_go_in_front() {
    let (app, out) = kit::app().await;
    let stored = json!({"task": "t", "args": [2], "kwargs": {"a": 1, "b": 1}, "options": {"priority": 1, "group_id": "g",
        "stamped_headers": ["who"], "who": "me"}});
    let stored = Node::from_wire(&WireSignature::from_json(stored.to_string().as_bytes()).unwrap()).unwrap();
    let mut options = with_priority(5);
    options.rare_mut().group_id = Some("other".to_owned());
    options.rare_mut().stamps.insert("who".to_owned(), Json::from_text("\"you\"").unwrap());
    let given = SendWith { arguments: arguments(json!([1]), json!({"b": 2, "c": 2})), options };
    for node in [stored.clone(), Node::chain([stored, task("next")])] {
        let message = sent(&app, &out, node, given.clone()).await;
        let body = body(&message);
        assert_eq!((&body[0], &body[1]), (&json!([1, 2]), &json!({"a": 1, "b": 2, "c": 2})));
        assert_eq!(message.properties.priority, Some(5), "an option of the call goes over the signature's");
        assert_eq!(message.headers.stamps["who"].as_str(), "\"me\"", "but not over its stamps");
        assert_eq!(message.headers.group.as_deref(), Some("g"), "nor over its group");
    }
}

#[tokio::test]
async fn feature_3_1_03_and_3_1_05_an_immutable_signature_takes_no_arguments_later() {
    let (app, out) = kit::app().await;
    let signature = Add::s(1, 2).into_immutable();
    let options = with_priority(5);
    let given = SendWith { arguments: arguments(json!([9]), json!({"z": 9})), options };
    let message = sent(&app, &out, signature.node().clone(), given).await;
    assert_eq!((&body(&message)[0], &body(&message)[1]), (&json!([1, 2]), &json!({})));
    assert_eq!(message.properties.priority, Some(5), "options are taken all the same");
    let chain = Add::s(1, 1) | signature;
    assert_eq!(json_of(chain.node())["kwargs"]["tasks"][1]["immutable"], true, "the message says so");
}

#[test]
fn feature_3_1_06_and_3_1_07_a_clone_has_options_of_its_own() {
    let first = Add::s(1, 2).queue("a").link(wire("callback", json!([]), json!({})));
    let mut second = first.clone().queue("b").kwarg("z", 1);
    second.options_mut().rare_mut().link.clear();
    assert_eq!((first.options().queue.as_deref(), second.options().queue.as_deref()), (Some("a"), Some("b")));
    assert_eq!((links(first.node()), first.kwargs().len()), (vec!["callback"], 0));
    assert!(!first.immutable(true).clone().to_wire().unwrap().options.contains_key("immutable"));
}

#[tokio::test]
async fn feature_3_1_08_freezing_gives_ids_once() {
    let (app, out) = kit::app().await;
    let mut signature = Add::s(1, 2) | Add::s(3, 4).into_immutable();
    let frozen = signature.freeze(&app).unwrap();
    let before = frozen.parent().unwrap().id().clone();
    let again = signature.freeze(&app).unwrap();
    assert_eq!(frozen.as_tuple(), again.as_tuple(), "the second time the ids are the same");
    let result = signature.send(&app).await.unwrap();
    assert_eq!(result.as_tuple(), frozen.as_tuple());
    assert_eq!(out.one().message.headers.id, Some(before), "and it is sent with them");
    assert!(again.parent().unwrap().parent().is_none());
}

#[test]
fn feature_3_1_09_links_are_added_once_each() {
    let callback = || wire("callback", json!([]), json!({}));
    let signature = Add::s(1, 2).link(callback()).link(callback()).on_error(callback()).link_error(callback());
    assert_eq!((links(signature.node()), errbacks(signature.node())), (vec!["callback"], vec!["callback"]));
    assert_eq!(signature.task(), "tasks.add", "it is the signature itself that comes back");
}

#[test]
fn feature_3_1_12_and_3_3_11_signatures_are_shown_as_celery_shows_them() {
    let add = |i| Add::s(i, i);
    let shown = |node: Node| Signature::<(), Json>::of_node(node).to_string();
    assert_eq!(add(2).to_string(), "tasks.add(2, 2)");
    assert_eq!((add(2) | add(3).into_immutable()).to_string(), "tasks.add(2, 2) | add(3, 3)");
    assert_eq!(group([add(2), add(3)]).to_string(), "group([tasks.add(2, 2), add(3, 3)])");
    assert_eq!(shown(Node::chain([])), "<chain: empty>");
    let inner = Add::s(2, 2).link(wire("second", json!([]), json!({})));
    let flat = Add::s(1, 1).link(inner).link(wire("third", json!([]), json!({}))).flatten_links().unwrap();
    assert_eq!(names(&flat), ["tasks.add", "tasks.add", "second", "third"]);
}

#[test]
fn feature_3_1_13_a_dict_becomes_the_signature_of_its_subtask_type() {
    let of = |kind: &str, kwargs: Value| {
        let wire = json!({"task": format!("celery.{kind}"), "args": [], "kwargs": kwargs, "options": {}, "subtask_type": kind});
        Node::from_wire(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap())
    };
    let inner = |name: &str| json!({"task": name, "args": [], "kwargs": {}, "options": {}});
    assert_eq!(shape(&of("chain", json!({"tasks": [inner("a"), inner("b")]})).unwrap()), "chain(a, b)");
    assert_eq!(shape(&of("group", json!({"tasks": [inner("a"), inner("b")]})).unwrap()), "group(a, b)");
    let chord = json!({"header": [inner("a"), inner("b")], "body": inner("c"), "kwargs": {}});
    assert_eq!(shape(&of("chord", chord).unwrap()), "chord(a, b; c)");
    for kind in ["xmap", "xstarmap"] {
        let map = of(kind, json!({"task": inner("a"), "it": [1, 2]})).unwrap();
        assert_eq!(json_of(&map)["subtask_type"], kind);
    }
    let chunks = of("chunks", json!({"task": inner("a"), "it": [[1], [2], [3]], "n": 2})).unwrap();
    assert_eq!(shape(&chunks), "group(celery.starmap, celery.starmap)");
    let error = of("sculpture", json!({})).unwrap_err();
    assert!(error.to_string().contains("there is no kind \"sculpture\" of signatures"), "{error}");
    let back = Node::chord(tasks("ab"), Node::chain(tasks("cd")));
    assert_eq!(shape(&Node::from_wire(&back.to_wire().unwrap()).unwrap()), shape(&back));
}

#[tokio::test]
async fn feature_3_1_14_a_task_need_not_be_registered_in_this_program() {
    let (app, out) = kit::app().await;
    app.sig("other.task").args((1,)).signature().send(&app).await.unwrap();
    assert_eq!(out.one().message.headers.task.as_deref(), Some("other.task"));
}

#[test]
fn feature_3_2_01_to_3_2_10_which_signatures_become_a_chain_or_a_chord() {
    let chain = |names: &str| Node::chain(tasks(names));
    let group = |names: &str| Node::group(tasks(names));
    let chord = |header: &str, body: &str| Node::chord(tasks(header), task(body));
    let table = [
        ("3.2.01 task | task", task("a"), task("b"), "chain(a, b)"),
        ("3.2.02 task | chain", task("a"), chain("bc"), "chain(a, b, c)"),
        ("3.2.02 chain | chain", chain("ab"), chain("cd"), "chain(a, b, c, d)"),
        ("3.2.02 chain | task", chain("ab"), task("c"), "chain(a, b, c)"),
        ("3.2.03 task | group", task("a"), group("bc"), "chain(a, group(b, c))"),
        ("3.2.03 task | group of one", task("a"), group("b"), "chain(a, b)"),
        ("3.2.03 chain | group", chain("ab"), group("cd"), "chain(a, b, group(c, d))"),
        ("3.2.03 chain | group of one", chain("ab"), group("c"), "chain(a, b, c)"),
        ("3.2.04 group | task", group("ab"), task("c"), "chord(a, b; c)"),
        ("3.2.04 group | chain", group("ab"), chain("cd"), "chord(a, b; chain(c, d))"),
        ("3.2.05 chain with a group | task", task("a").pipe(group("bc")), task("d"), "chain(a, chord(b, c; d))"),
        (
            "3.2.06 chain with a chord | task",
            task("a").pipe(chord("bc", "d")),
            task("e"),
            "chain(a, chord(b, c; chain(d, e)))",
        ),
        ("3.2.07 chord | task", chord("ab", "c"), task("d"), "chord(a, b; chain(c, d))"),
        ("3.2.07 chord | group of one", chord("ab", "c"), group("d"), "chord(a, b; chain(c, d))"),
        ("3.2.08 group | nothing", group("ab"), Node::group([]), "group(a, b)"),
        ("3.2.08 chain | nothing", chain("ab"), Node::group([]), "chain(a, b)"),
        ("3.2.09 group | group", group("ab"), group("cd"), "chord(a, b; group(c, d))"),
    ];
    for (what, left, right, together) in table {
        assert_eq!(shape(&left.pipe(right)), together, "{what}");
    }
    let mut grown = Add::s(1, 1).cast::<(), Json>();
    grown |= Add::s(2, 2).into_immutable().cast::<apium_app::signature::fits::Anything, Json>();
    assert_eq!(shape(grown.node()), "chain(tasks.add, tasks.add)", "3.2.10");
}

#[test]
fn feature_3_3_01_a_chain_is_made_of_steps_or_of_a_list() {
    let step = || Add::s(1, 1).cast::<i64, i64>();
    let listed = chain((0..3).map(|_| step()));
    let named = apium_app::signature::chain::chain![step(), step(), step()];
    assert_eq!(shape(listed.node()), "chain(tasks.add, tasks.add, tasks.add)");
    assert_eq!(json_of(listed.node()), json_of(named.node()));
    assert_eq!(json_of((step() | step() | step()).node()), json_of(named.node()));
}

#[tokio::test]
async fn feature_3_3_02_and_3_3_05_only_the_first_step_is_sent_and_the_id_is_the_last_one_s() {
    let (app, out) = kit::app().await;
    let mut steps = Node::chain(tasks("abc"));
    steps.options_mut().task_id = Some("last".into());
    let result = send(&app, steps).await.unwrap();
    let message = out.one().message;
    assert_eq!((result.id.as_str(), message.headers.task.as_deref()), ("last", Some("a")));
    let rest: Vec<Value> = serde_json::from_value(body(&message)[2]["chain"].clone()).unwrap();
    let rest: Vec<_> = rest.iter().map(|step| step["task"].as_str().unwrap()).collect();
    assert_eq!(rest, ["c", "b"], "the next one stands last");
    assert_eq!(body(&message)[2]["chain"][0]["options"]["task_id"], "last");
    assert_eq!(result.parent.unwrap().parent.unwrap().id, message.headers.id.unwrap());
}

#[tokio::test]
async fn feature_3_3_06_options_of_a_chain_go_to_its_steps() {
    let (app, out) = kit::app().await;
    let mut steps = Node::chain(tasks("ab")).pipe(Node::chord(tasks("cd"), task("e")));
    steps.link(wire("callback", json!([]), json!({})));
    steps.link_error(wire("errback", json!([]), json!({})));
    steps.options_mut().priority = Some(7.into());
    send(&app, steps).await.unwrap();
    let message = out.one().message;
    let embed = &body(&message)[2];
    assert_eq!((message.properties.priority, &embed["callbacks"]), (Some(7), &Value::Null));
    assert_eq!(embed["errbacks"][0]["task"], "errback");
    let (chord, second) = (&embed["chain"][0], &embed["chain"][1]);
    assert_eq!((&second["options"]["priority"], &second["options"]["link"]), (&Value::Null, &Value::Null));
    assert_eq!(second["options"]["link_error"][0]["task"], "errback");
    let of_body = &chord["kwargs"]["body"]["options"];
    assert_eq!(
        (&of_body["link"][0]["task"], &of_body["link_error"][0]["task"]),
        (&json!("callback"), &json!("errback"))
    );
}

#[tokio::test]
async fn feature_3_3_04_and_3_3_12_empty_steps_are_removed_and_nested_ones_unrolled() {
    let (app, out) = kit::app().await;
    let steps = Node::from_wire(&wire("celery.chain", json!([]), json!({}))).unwrap();
    assert!(matches!(steps, Node::Task(_)), "without its type it is a task of that name");
    let nested = vec![Node::group([]), Node::chain(tasks("ab")), Node::group(tasks("c")), Node::chain(tasks("d"))];
    let mut chain_node = ChainNode::default();
    chain_node.steps = nested;
    chain_node.options = CallOptions::default();
    let nested = Node::Chain(chain_node);
    let given = SendWith { arguments: arguments(json!([1]), json!({})), options: CallOptions::default() };
    let message = sent(&app, &out, nested, given).await;
    assert_eq!((message.headers.task.as_deref(), &body(&message)[0]), (Some("a"), &json!([1])));
    let rest: Vec<Value> = serde_json::from_value(body(&message)[2]["chain"].clone()).unwrap();
    assert_eq!(rest.iter().map(|step| step["task"].as_str().unwrap()).collect::<Vec<_>>(), ["d", "c", "b"]);
}

#[tokio::test]
async fn feature_3_3_11_an_empty_chain_is_refused() {
    let (app, out) = kit::app().await;
    let error = send(&app, Node::chain([])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Call);
    assert!(error.to_string().contains("send an empty chain"), "{error}");
    assert!(out.take().is_empty());
}

#[tokio::test]
async fn feature_3_4_02_and_3_4_07_arguments_and_options_of_a_call_go_to_every_member() {
    let (app, out) = kit::app().await;
    let mut members = Node::group([task("a"), task("b")]);
    members.options_mut().task_id = Some("the group".into());
    let options = with_priority(4);
    let given = SendWith { arguments: arguments(json!([1]), json!({"k": 2})), options };
    let result = send_with(&app, members, given).await.unwrap();
    assert_eq!(result.id.as_str(), "the group");
    for (place, out) in out.take().into_iter().enumerate() {
        let Message { headers, properties, .. } = &out.message;
        assert_eq!(headers.id.as_ref(), Some(&result.children.as_ref().unwrap()[place].id));
        assert_eq!((headers.group.as_deref(), headers.group_index), (Some("the group"), i64::try_from(place).ok()));
        assert_eq!(properties.priority, Some(4));
        assert_eq!((&body(&out.message)[0], &body(&out.message)[1]), (&json!([1]), &json!({"k": 2})));
    }
}

#[tokio::test]
async fn feature_3_4_04_links_of_a_group_go_to_its_members() {
    let (app, out) = kit::app().await;
    let mut members = Node::group(tasks("ab"));
    members.link(wire("callback", json!([7]), json!({})));
    members.link_error(wire("errback", json!([]), json!({})));
    let Node::Group(inner) = &members else { unreachable!("a group stays one") };
    assert_eq!((links(&inner.members[0]), links(&inner.members[1])), (vec!["callback"], vec![]));
    assert!(
        inner.members[0].options().rare.as_ref().unwrap().link[0].immutable,
        "a callback of a group gets no result"
    );
    assert_eq!((errbacks(&inner.members[0]), errbacks(&inner.members[1])), (vec!["errback"], vec!["errback"]));
    for error in [true, false] {
        let mut options = CallOptions::default();
        let list = if error { &mut options.rare_mut().link_error } else { &mut options.rare_mut().link };
        list.push(wire("callback", json!([]), json!({})));
        let given = SendWith { options, ..SendWith::default() };
        let error = send_with(&app, members.clone(), given).await.unwrap_err();
        assert!(error.to_string().contains("let a task follow the group (a chord)"), "{error}");
    }
    assert!(out.take().is_empty());
}

#[tokio::test]
async fn feature_3_4_05_and_3_4_06_nested_groups_are_flat_and_an_empty_one_is_nothing() {
    let (app, out) = kit::app().await;
    let nested = Node::group([task("a"), Node::group([task("b"), Node::group(tasks("cd"))]), task("e")]);
    let result = send(&app, nested).await.unwrap();
    let sent = out.take();
    let order: Vec<_> = sent.iter().map(|out| out.message.headers.task.as_deref().unwrap()).collect();
    assert_eq!(order, ["a", "b", "c", "d", "e"]);
    let ids: Vec<_> = result.children.unwrap().into_iter().map(|member| member.id).collect();
    assert_eq!(ids, sent.iter().map(|out| out.message.headers.id.clone().unwrap()).collect::<Vec<_>>());
    assert_eq!(send(&app, Node::group([])).await.unwrap().children, Some(Vec::new()));
    assert!(out.take().is_empty());
}

#[tokio::test]
async fn feature_3_4_08_a_group_of_one_chain_that_ends_with_a_group_is_that_group() {
    let (app, _) = kit::app().await;
    let result = send(&app, Node::group([task("a").pipe(Node::group(tasks("bc")))])).await.unwrap();
    assert_eq!(result.children.unwrap().len(), 2);
    assert!(result.parent.is_some(), "and the task before it is its parent");
}

#[tokio::test]
async fn feature_3_4_10_and_3_4_11_skew_and_immutability_of_members() {
    let (app, out) = kit::app().await;
    let second = Duration::from_secs(1);
    let members = group((0..4).map(|i| Add::s(i, i))).skew(second, Some(3 * second), second).set_immutable(true);
    let countdowns: Vec<_> =
        members.members().iter().map(|member| member.options().countdown.unwrap().as_secs()).collect();
    assert_eq!(countdowns, [1, 2, 3, 3]);
    let before: Signature<(), Json> = Add::s(1, 1).cast();
    let _ = (before | members.cast::<apium_app::signature::fits::Anything, Json>()).send(&app).await.unwrap();
    let chain = body(&out.one().message)[2]["chain"].clone();
    assert!(chain[0]["kwargs"]["tasks"].as_array().unwrap().iter().all(|member| member["immutable"] == true));
}

#[tokio::test]
async fn feature_3_5_13_and_3_5_17_options_of_a_chord_go_to_its_header_or_its_body() {
    let (app, out) = kit::app().await;
    let mut chord = Node::chord(tasks("ab"), task("c"));
    chord.link(wire("callback", json!([]), json!({})));
    chord.options_mut().countdown = Some(Duration::from_secs(5));
    send(&app, chord).await.unwrap();
    for out in out.take() {
        assert_eq!(out.message.headers.eta.as_deref(), Some("2030-01-02T03:04:10.678901+00:00"), "the header waits");
        let body = &body(&out.message)[2]["chord"]["options"];
        assert_eq!(body["link"][0]["task"], "callback");
        assert_eq!((&body["countdown"], &body["eta"]), (&Value::Null, &Value::Null), "the body does not");
    }
}

#[tokio::test]
async fn feature_3_5_08_and_3_5_16_what_counts_as_one_part_of_a_chord() {
    let (app, _) = kit::app().await;
    let chain = |names: &str| Node::chain(tasks(names));
    let table = [
        (vec![task("a"), task("b")], 2),
        (vec![task("a"), Node::group(tasks("bcd"))], 4),
        (vec![task("a"), chain("bcd")], 2),
        (vec![chain("ab").pipe(Node::group(tasks("cd")))], 2),
        (vec![Node::chord(tasks("abc"), task("d")), task("e")], 2),
        (vec![Node::chord(tasks("abc"), Node::group(tasks("de")))], 2),
    ];
    for (place, (members, size)) in table.into_iter().enumerate() {
        let mut header = GroupNode::default();
        header.members = members;
        header.options = CallOptions::default();
        let id = format!("header {place}");
        header.options.task_id = Some(id.as_str().into());
        let chord = Node::Chord(ChordNode::new(header, task("z")));
        let shown = shape(&chord);
        send(&app, chord).await.unwrap();
        let count = app.backend().unwrap().chords().unwrap().count(&id).await.unwrap().unwrap();
        assert_eq!((count.done, count.size), (0, size), "{shown}");
    }
}

#[tokio::test]
async fn feature_3_5_02_a_chord_needs_a_backend_that_counts_its_parts() {
    let builder = apium_app::builder::AppBuilder::new(
        "proj",
        vec![std::sync::Arc::new(apium_transport::memory::MemoryDriver::new())],
    );
    let (app, out) = kit::app_of(builder.autodiscover(false).broker("memory://").clock(kit::clock())).await;
    let error = send(&app, Node::chord(tasks("ab"), task("c"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend);
    assert!(out.take().is_empty(), "nothing is sent");
}

#[tokio::test]
async fn feature_3_1_14_a_task_by_name_takes_the_result_before() {
    let (app, _) = kit::app().await;
    let named = || app.sig("other.task").args((1,)).signature();
    let chain = Add::s(1, 2) | named();
    assert_eq!(json_of(chain.node())["kwargs"]["tasks"][1]["immutable"], false);
    let after_a_group = group([Add::s(1, 2)]) | named();
    assert_eq!(json_of(after_a_group.node())["kwargs"]["body"]["immutable"], false);
}
