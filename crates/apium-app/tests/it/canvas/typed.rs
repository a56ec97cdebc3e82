//! Typed signatures: what they become when they are joined, shown and sent.

use std::time::Duration;

use apium_app::call::batch::Batch;
use apium_app::call::class_calls::TaskCalls;
use apium_app::canvas::node::Node;
use apium_app::context::context::Ctx;
use apium_app::error::ErrorKind;
use apium_app::options::task_options::TaskOptions;
use apium_app::signature::chain::{chain, chord, group};
use apium_app::signature::fits::Anything;
use apium_app::signature::group::{Group, group};
use apium_app::signature::join::{Join, join};
use apium_app::signature::map;
use apium_app::signature::signature::Signature;
use apium_app::task::arguments::{ArgumentWriter, Parameter, ParameterList};
use apium_app::task::class::Task;
use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
use apium_app::task_error::TaskResult;
use apium_protocol::json::text::Json;
use serde::Serialize;
use serde_json::{Value, json};

use crate::kit;

const TWO: &[Parameter] = &[Parameter::required("x"), Parameter::required("y")];

const fn def(name: &'static str, options: fn() -> TaskOptions) -> TaskDef {
    TaskDef {
        name,
        aliases: &[],
        parameters: ParameterList { function: "task", named: TWO, var_args: false, var_kwargs: false },
        options,
        hooks: Hooks::NONE,
        needs: &[],
        takes_ctx: false,
        run: TaskFn::Blocking(|_| Ok(Json::NULL)),
        location: "canvas_typed.rs:1",
    }
}

static ADD: TaskDef = def("tasks.add", || TaskOptions::NEW);
static MUL: TaskDef = def("tasks.mul", || TaskOptions::NEW);
static XSUM: TaskDef = def("tasks.xsum", || {
    let mut options = TaskOptions::NEW;
    options.queue = Some("sums".into());
    options
});
static SHOW: TaskDef = def("other.show", || TaskOptions::NEW);
static TICK: TaskDef = def("other.tick", || TaskOptions::NEW);

fn args<T: Serialize>(values: &[T]) -> apium_app::error::Result<apium_app::task::arguments::Arguments> {
    values.iter().fold(ArgumentWriter::new(values.len()), |writer, value| writer.arg(value)).finish()
}

fn add(x: i64, y: i64) -> Signature<(), i64> {
    Signature::of_def(&ADD, args(&[x, y]))
}

fn add_p(y: i64) -> Signature<i64, i64> {
    Signature::<(), i64>::of_def(&ADD, args(&[y])).cast()
}

fn mul_p(y: i64) -> Signature<i64, i64> {
    Signature::<(), i64>::of_def(&MUL, args(&[y])).cast()
}

fn xsum_p() -> Signature<Vec<i64>, i64> {
    Signature::<(), i64>::of_def(&XSUM, args::<i64>(&[])).cast()
}

fn show_p() -> Signature<i64, String> {
    Signature::<(), String>::of_def(&SHOW, args::<i64>(&[])).cast()
}

fn tick() -> Signature<(), ()> {
    Signature::of_def(&TICK, args::<i64>(&[]))
}

/// A node in short form: `add`, `[a, b]` a chain, `(a, b)` a group, `{(a, b) body}` a chord.
fn shape(node: &Node) -> String {
    let list = |nodes: &[Node]| nodes.iter().map(shape).collect::<Vec<_>>().join(", ");
    match node {
        Node::Task(task) => task.call.task.rsplit('.').next().unwrap().to_owned(),
        Node::Chain(chain) => format!("[{}]", list(&chain.steps)),
        Node::Group(group) => format!("({})", list(&group.members)),
        Node::Chord(chord) => format!("{{({}) {}}}", list(&chord.header.members), shape(&chord.body)),
    }
}

fn typed_shape<In: ?Sized, Out>(signature: &Signature<In, Out>) -> String {
    shape(signature.node())
}

#[test]
fn feature_3_2_01_a_task_after_a_task_makes_a_chain_with_the_types_of_its_ends() {
    let chain: Signature<(), String> = add(2, 2) | mul_p(4) | show_p();
    assert_eq!(typed_shape(&chain), "[add, mul, show]");
    let partial: Signature<i64, String> = mul_p(4) | (add_p(1) | show_p());
    assert_eq!(typed_shape(&partial), "[mul, add, show]");
}

#[test]
fn feature_3_2_04_a_task_after_a_group_makes_a_chord_even_for_one_member() {
    let three: Signature<(), i64> = group((0..3).map(|i| add(i, i))) | xsum_p();
    assert_eq!(typed_shape(&three), "{(add, add, add) xsum}");
    let one = group([add(1, 1)]) | xsum_p();
    assert_eq!(typed_shape(&one), "{(add) xsum}", "the body takes a list");
    let named: Signature<(), i64> = chord([add(1, 1), add(2, 2)], xsum_p());
    assert_eq!(typed_shape(&named), "{(add, add) xsum}");
    assert_eq!(typed_shape(&chord(group([add(1, 1)]), xsum_p() | mul_p(2))), "{(add) [xsum, mul]}");
}

#[test]
fn feature_3_2_03_a_group_after_a_task_waits_for_it() {
    let fan: Group<(), i64> = add(1, 1) | group([mul_p(2), mul_p(3)]);
    assert_eq!(fan.to_string(), "tasks.add(1, 1) | group([mul(2), mul(3)])");
    let back: Signature<(), i64> = fan | xsum_p();
    assert_eq!(typed_shape(&back), "[add, {(mul, mul) xsum}]");
    // A group of one gives a list of one.
    assert_eq!(typed_shape(&(add(1, 1) | group([mul_p(2)]) | xsum_p())), "[add, {(mul) xsum}]");
    let none = group(std::iter::empty::<Signature<i64, i64>>());
    assert_eq!(typed_shape(&(add(1, 1) | none | xsum_p())), "[add, {() xsum}]");
}

#[test]
fn feature_3_2_09_a_group_after_a_group_is_the_body_of_a_chord() {
    let sums: Group<(), i64> = group([add(1, 1), add(2, 2)]) | group([xsum_p(), xsum_p()]);
    let shown = typed_shape(&(sums | xsum_p()));
    assert_eq!(shown, "{(add, add) {(xsum, xsum) xsum}}");
    let mut sums = group([add(1, 1)]);
    sums |= group([xsum_p()]);
    assert_eq!(typed_shape(&(sums | xsum_p())), "{(add) {(xsum) xsum}}");
}

#[test]
fn feature_3_2_10_a_chain_grows_by_assignment() {
    let mut chain = add(0, 0);
    for step in 1..=3 {
        chain |= mul_p(step);
    }
    assert_eq!(typed_shape(&chain), "[add, mul, mul, mul]");
}

#[test]
fn feature_3_3_01_a_chain_and_a_chord_can_be_made_of_a_list() {
    let steps: Signature<i64, i64> = chain((1..=3).map(mul_p));
    assert_eq!(typed_shape(&steps), "[mul, mul, mul]");
    assert_eq!(typed_shape(&(add(1, 1) | steps.clone())), "[add, mul, mul, mul]");
    assert_eq!(steps.partial(5).to_string(), "tasks.mul(5, 1) | mul(2) | mul(3)");
    assert_eq!(typed_shape(&chain![add(1, 1), mul_p(2), show_p()]), "[add, mul, show]");
    assert_eq!(group![add(1, 1), add(2, 2)].len(), 2);
    let mut some: Group<(), i64> = group![];
    some.extend([add(1, 1)]);
    some.push(add(2, 2));
    assert_eq!(some.members().len(), 2);
}

#[test]
fn a_task_with_all_arguments_may_follow_one_that_returns_nothing() {
    let both: Signature<(), ()> = tick() | tick();
    let Node::Chain(chain) = both.node() else { panic!("{both}") };
    let immutable = |node: &Node| matches!(node, Node::Task(task) if task.immutable);
    assert!(!immutable(&chain.steps[0]) && immutable(&chain.steps[1]), "null is no argument of it");
    let Node::Chain(chain) = (tick() | group([tick(), tick()]) | xsum_p().cast::<Anything, ()>()).node().clone() else {
        panic!("no chain")
    };
    let Node::Chord(chord) = &chain.steps[1] else { panic!("no chord") };
    assert!(chord.header.members.iter().all(immutable));
}

#[test]
fn feature_3_1_03_an_immutable_signature_may_follow_any_task_or_be_sent_alone() {
    let done: Signature<Anything, i64> = add(1, 2).into_immutable();
    let chain: Signature<(), i64> = add(1, 1) | show_p() | done.clone();
    assert_eq!(typed_shape(&chain), "[add, show, add]");
    let wire = done.to_wire().unwrap();
    assert!(wire.immutable);
    assert_eq!(group([add(1, 1), done.taking()]).len(), 2);
    let of_chain: Signature<Anything, i64> = (add(1, 2) | mul_p(2)).into_immutable();
    let Node::Chain(chain) = of_chain.node() else { panic!("{of_chain}") };
    assert!(matches!(&chain.steps[0], Node::Task(task) if task.immutable));
    assert!(matches!(&chain.steps[1], Node::Task(task) if !task.immutable));
}

#[test]
fn feature_3_1_04_partial_arguments_come_first_and_keywords_replace_the_old_ones() {
    let sum: Signature<(), i64> = add_p(4).partial(3);
    assert_eq!(sum.to_string(), "tasks.add(3, 4)");
    assert_eq!(add_p(4).kwarg("k", 1).kwarg("k", "new").to_string(), "tasks.add(4, k='new')");
    let chord: Signature<(), i64> = (group([mul_p(1), mul_p(2)]) | xsum_p()).partial(9);
    assert_eq!(chord.to_string(), "%tasks.xsum([mul(9, 1), mul(9, 2)])");
    assert_eq!(group([mul_p(1)]).partial(7).to_string(), "group([tasks.mul(7, 1)])");
    assert_eq!((mul_p(1) | group([mul_p(2)])).partial(7).kwarg("k", 1).to_string(), "tasks.mul(7, 1, k=1) | mul(2)");
    let bad = std::collections::HashMap::from([(vec![1_u8], 1)]);
    let error = format!("{:#}", add_p(1).kwarg("bad", bad).to_wire().unwrap_err());
    assert!(error.contains("keyword argument bad"), "{error}");
}

#[test]
fn feature_3_1_12_signatures_are_shown_as_celery_shows_them() {
    assert_eq!((add(2, 2) | mul_p(3)).to_string(), "tasks.add(2, 2) | mul(3)");
    assert_eq!(group([add(2, 2), add(4, 4)]).to_string(), "group([tasks.add(2, 2), add(4, 4)])");
    let sum = group([add(1, 1), add(2, 2)]) | xsum_p();
    assert_eq!(sum.to_string(), "%tasks.xsum([add(1, 1), add(2, 2)])");
    assert_eq!((sum | mul_p(4)).to_string(), "%(tasks.xsum([add(1, 1), add(2, 2)]) | mul(4))");
    assert_eq!((add(1, 1) | show_p()).to_string(), "tasks.add(1, 1) | other.show()");
    let map: Signature<Anything, Vec<i64>> = map::map(&XSUM, [vec![1, 2], vec![3]]);
    assert_eq!(map.to_string(), "[tasks.xsum(x) for x in [[1, 2], [3]]]");
    let starmap: Signature<Anything, Vec<i64>> = map::starmap(&ADD, [args(&[1, 2])]);
    assert_eq!(starmap.to_string(), "[tasks.add(*x) for x in [[1, 2]]]");
    assert_eq!(format!("{:?}", add(1, 2)), "tasks.add(1, 2)");
    let none = group(std::iter::empty::<Signature<(), i64>>());
    assert_eq!(none.to_string(), "group(<empty>)");
}

#[test]
fn feature_3_3_06_and_3_4_04_links_go_where_celery_puts_them() {
    let callback = Signature::<(), i64>::new("tasks.callback", args::<i64>(&[]));
    let errback = Signature::<(), i64>::new("tasks.errback", args::<i64>(&[]));
    let linked = (add(1, 1) | mul_p(2)).link(callback.clone()).on_error(errback.clone()) | mul_p(3);
    let Node::Chain(chain) = linked.node() else { panic!("{linked}") };
    let links = |node: &Node| {
        let rare = node.options().rare.as_deref().cloned().unwrap_or_default();
        (rare.link.len(), rare.link_error.len())
    };
    assert_eq!(chain.steps.iter().map(links).collect::<Vec<_>>(), [(0, 1), (1, 1), (0, 0)]);
    let chord = (group([add(1, 1)]) | xsum_p()).link(callback.clone()).on_error(errback.clone());
    let Node::Chord(chord) = chord.node() else { panic!("{chord}") };
    assert_eq!((links(&chord.body), links(&chord.header.members[0])), ((1, 1), (0, 0)));
    let members = group([add(1, 1), add(2, 2)]).on_error(errback);
    assert_eq!(members.members().iter().map(links).collect::<Vec<_>>(), [(0, 1), (0, 1)]);
    let nested = add(1, 1).on_success(mul_p(2).on_success(show_p())).link(callback);
    let names: Vec<_> = nested.flatten_links().unwrap().into_iter().map(|wire| wire.task.to_string()).collect();
    assert_eq!(names, ["tasks.add", "tasks.mul", "other.show", "tasks.callback"]);
}

#[test]
fn feature_3_7_01_stamps_go_to_every_task_and_its_links() {
    let chain = (add(1, 1).link(mul_p(2)) | mul_p(3)).stamp("tenant", 7);
    let Node::Chain(chain) = chain.node() else { panic!("{chain}") };
    for step in &chain.steps {
        assert_eq!(step.options().rare.as_ref().unwrap().stamps["tenant"].as_str(), "7");
    }
    let link = &chain.steps[0].options().rare.as_ref().unwrap().link[0];
    assert_eq!(link.options["tenant"].as_str(), "7");
    let two = add(1, 1).stamp("tenant", 7).append_stamp("tenant", 8);
    assert_eq!(two.options().rare.as_ref().unwrap().stamps["tenant"].as_str(), "[8, 7]");
    assert_eq!(add(1, 1).stamp("a", 1).stamp("a", 2).options().rare.as_ref().unwrap().stamps["a"].as_str(), "2");
    let fan = (add(1, 1) | group([mul_p(1), mul_p(2)])).stamp("tenant", 7).to_string();
    assert_eq!(fan, "tasks.add(1, 1) | group([mul(1), mul(2)])");
}

#[test]
fn feature_3_4_10_skew_gives_growing_countdowns_up_to_a_limit() {
    let skewed = group((0..5).map(|i| add(i, i))).skew(
        Duration::from_secs(1),
        Some(Duration::from_secs(3)),
        Duration::from_secs(1),
    );
    let countdowns: Vec<_> =
        skewed.members().iter().map(|member| member.options().countdown.unwrap().as_secs()).collect();
    assert_eq!(countdowns, [1, 2, 3, 3, 3]);
}

#[test]
fn types_of_a_join_are_a_tuple() {
    let both: Join<(), (i64, String)> = join((add(1, 1), add(2, 2) | show_p()));
    assert_eq!(both.to_string(), "group([tasks.add(1, 1), add(2, 2) | other.show()])");
    let pair: Signature<(i64, String), bool> = Signature::<(), bool>::new("t.pair", args::<i64>(&[])).cast();
    let chord: Signature<(), bool> = both | pair.clone();
    assert_eq!(typed_shape(&chord), "{(add, [add, show]) pair}");
    let after_join: Signature<(), bool> = add(1, 1) | join((mul_p(2), show_p())) | pair;
    assert_eq!(typed_shape(&after_join), "[add, {(mul, show) pair}]");
    let lists: Join<(), (i64, i64)> = group([add(1, 1)]) | join((xsum_p(), xsum_p()));
    assert_eq!(
        typed_shape(
            &(lists
                | join((Signature::<(i64, i64), i64>::of_node(xsum_p().node().clone()),))
                | xsum_p().cast::<(i64,), i64>())
        ),
        "{(add) {(xsum, xsum) {(xsum) xsum}}}"
    );
}

#[test]
fn an_optional_argument_takes_its_inner_type_and_a_task_by_name_takes_anything() {
    let maybe: Signature<Option<i64>, i64> = Signature::<(), i64>::new("t.maybe", args::<i64>(&[])).cast();
    let named: Signature<Anything, Json> = Signature::by_name("legacy.task", args::<i64>(&[]));
    let all: Signature<(), i64> = add(1, 1) | maybe | named.cast::<i64, i64>() | mul_p(2);
    assert_eq!(typed_shape(&all), "[add, maybe, task, mul]");
}

struct Scale {
    by: i64,
}

impl Task for Scale {
    const NAME: &'static str = "tasks.Scale";
    type Args = (i64, i64);
    type Output = i64;

    async fn run(&self, _ctx: &Ctx, (x, y): (i64, i64)) -> TaskResult<i64> {
        Ok((x + y) * self.by)
    }
}

#[test]
fn a_task_class_is_joined_like_a_function() {
    let chain: Signature<(), i64> = Scale::s((1, 2)) | Scale::p((3,)) | Scale::si((4, 5));
    assert_eq!(chain.to_string(), "tasks.Scale(1, 2) | Scale(3) | Scale(4, 5)");
    assert_eq!(Scale::starmap([(1, 2)]).to_string(), "[tasks.Scale(*x) for x in [[1, 2]]]");
    assert_eq!(Scale::chunks([(1, 2), (3, 4)], 1).len(), 2);
    assert_eq!(Scale::batch([(1, 2)]).len(), 1);
}

#[tokio::test]
async fn a_batch_sends_workflows_too_and_links_each() {
    let (app, sent) = kit::app().await;
    let batch = Batch::of([add(1, 1) | mul_p(2), add(2, 2)]).link(add_p(1)).on_error(add_p(2)).stamp("tenant", 7);
    let results = batch.send_all(&app).await.unwrap();
    let messages = sent.take();
    assert_eq!((results.len(), messages.len()), (2, 2));
    assert_eq!(body(&messages[0])[2]["chain"][0]["options"]["link"][0]["task"], "tasks.add");
    assert_eq!(body(&messages[1])[2]["callbacks"][0]["task"], "tasks.add");
    for message in &messages {
        assert_eq!(body(message)[2]["errbacks"][0]["args"], json!([2]));
        assert_eq!(message.message.headers.stamps["tenant"].as_str(), "7");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_encoded_is_an_error_of_the_workflow() {
    let (app, sent) = kit::app().await;
    let bad = || Signature::<(), i64>::of_def(&ADD, args(&[std::collections::HashMap::from([(vec![1_u8], 1)])]));
    let chains = [bad() | mul_p(1), add(1, 1) | bad().cast::<i64, i64>(), group([add(1, 1), bad()]) | xsum_p()];
    for chain in chains {
        let error = chain.send(&app).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(error.kind() == ErrorKind::Codec && text.contains("positional argument 1"), "{text}");
    }
    assert!(group([bad()]).send(&app).await.unwrap_err().to_string().contains("call a group"));
    assert!(join((add(1, 1), bad())).send(&app).await.is_err());
    assert!(map::starmap::<i64>(&ADD, [args(&[f64::NAN])]).send(&app).await.is_ok(), "NaN is JSON of Python's");
    let items = [std::collections::HashMap::from([(vec![1_u8], 1)])];
    let error = map::map::<i64>(&XSUM, items).send(&app).await.unwrap_err();
    assert!(format!("{error:#}").contains("an item of a map"));
    assert_eq!(sent.take().len(), 1);
}

fn body(message: &apium_transport::broker::outgoing::Outgoing) -> Value {
    serde_json::from_slice(&message.message.body).unwrap()
}

fn vector(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    vector["redis"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["body"]["utf8"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn feature_3_6_01_to_03_maps_are_celerys_messages() {
    let (app, sent) = kit::app().await;
    let map: Signature<Anything, Vec<i64>> = map::map(&XSUM, [vec![1, 2], vec![3]]);
    map.send(&app).await.unwrap();
    let starmap: Signature<Anything, Vec<i64>> = map::starmap(&ADD, [args(&[1, 2]), args(&[3, 4])]);
    starmap.send(&app).await.unwrap();
    let chunks: Group<Anything, Vec<i64>> = map::chunks(&ADD, (0..4).map(|i| args(&[i, i])), 2);
    let result = chunks.send(&app).await.unwrap();
    let messages = sent.take();
    let theirs = [vector("canvas_map"), vector("canvas_starmap"), vector("canvas_chunks")].concat();
    assert_eq!(messages.iter().map(body).collect::<Vec<_>>(), theirs);
    let tasks: Vec<_> = messages.iter().map(|message| message.message.headers.task.as_deref().unwrap()).collect();
    assert_eq!(tasks, ["celery.map", "celery.starmap", "celery.starmap", "celery.starmap"]);
    assert_eq!(messages[3].message.headers.group.as_deref(), Some(result.id().as_str()));
    assert_eq!(messages[3].message.headers.group_index, Some(1));
    assert_eq!(messages[0].message.headers.ignore_result, Some(false));
    let uneven: Group<Anything, Vec<i64>> = map::chunks(&ADD, (0..5).map(|i| args(&[i, i])), 2);
    assert_eq!(uneven.len(), 3);
    let wire = uneven.members()[2].to_wire().unwrap();
    assert_eq!((wire.subtask_type.as_deref(), wire.immutable), (Some("xstarmap"), true));
    assert_eq!(wire.kwargs[1].1.as_str(), "[[4, 4]]");
}

#[tokio::test]
async fn feature_3_6_04_a_map_goes_where_its_inner_task_goes() {
    let routes = apium_app::config::value::Value::Table(vec![("tasks.add".to_owned(), "adders".into())]);
    let (app, sent) = kit::app_of(kit::builder().setting("task_routes", routes)).await;
    map::map::<i64>(&XSUM, [1]).send(&app).await.unwrap();
    map::starmap::<i64>(&ADD, [args(&[1, 2])]).send(&app).await.unwrap();
    app.sig("tasks.add").map([1]).send(&app).await.unwrap();
    map::map::<i64>(&MUL, [1]).queue("mine").send(&app).await.unwrap();
    let queues: Vec<_> = sent.take().iter().map(|message| message.routing_key.to_string()).collect();
    assert_eq!(queues, ["sums", "adders", "adders", "mine"]);
}

#[tokio::test]
async fn a_chain_is_sent_by_its_first_task_and_its_result_is_the_last_one() {
    let (app, sent) = kit::app().await;
    let mut chain = add(1, 2) | mul_p(3) | show_p();
    let frozen = chain.freeze(&app).unwrap();
    let result = chain.send(&app).await.unwrap();
    assert_eq!(result, frozen);
    let message = sent.one();
    assert_eq!(body(&message)[0], json!([1, 2]));
    let rest = body(&message)[2]["chain"].clone();
    assert_eq!((rest[0]["task"].as_str(), rest[1]["task"].as_str()), (Some("other.show"), Some("tasks.mul")));
    assert_eq!(rest[0]["options"]["task_id"].as_str(), Some(result.id().as_str()));
    let first = result.parent().unwrap().parent().unwrap();
    assert_eq!(message.message.headers.id.as_ref(), Some(first.id()));
}

#[tokio::test]
async fn a_group_after_a_task_has_a_result_with_a_parent() {
    let (app, sent) = kit::app().await;
    let result = (add(1, 1) | group([mul_p(2), mul_p(3)])).send(&app).await.unwrap();
    assert_eq!(result.len(), 2);
    let first = sent.one();
    assert_eq!(first.message.headers.id.as_ref(), result.parent().map(|parent| parent.id()));
    let one = (add(1, 1) | group([mul_p(2)])).send(&app).await.unwrap();
    assert_eq!(one.len(), 1, "a group of one is a group to its caller");
    assert_eq!(body(&sent.one())[2]["chain"][0]["task"], "tasks.mul");
    let none = (add(1, 1) | group(std::iter::empty::<Signature<i64, i64>>())).send(&app).await.unwrap();
    assert!(none.is_empty());
    assert_eq!(sent.one().message.headers.id.as_ref(), none.parent().map(|parent| parent.id()));
}

#[tokio::test]
async fn the_values_of_a_join_are_a_tuple() {
    let (app, sent) = kit::app().await;
    let result = join((add(1, 1), add(2, 2).into_immutable().cast::<(), String>())).send(&app).await.unwrap();
    assert_eq!(sent.take().len(), 2);
    for (member, value) in result.group().iter().zip(["2", "\"four\""]) {
        kit::store(&app, member.id(), "SUCCESS", value).await;
    }
    let values: (i64, String) = result.get().timeout(Duration::from_secs(5)).await.unwrap();
    assert_eq!(values, (2, "four".to_owned()));
}

#[tokio::test]
async fn options_of_a_workflow_go_where_celery_puts_them() {
    let (app, sent) = kit::app().await;
    (add(1, 1) | mul_p(2)).queue("first").task_id("last").send(&app).await.unwrap();
    let message = sent.one();
    assert_eq!(&*message.routing_key, "first");
    assert_eq!(body(&message)[2]["chain"][0]["options"]["task_id"], "last");
    assert_eq!(body(&message)[2]["chain"][0]["options"].get("queue"), None);
    let chord = (group([add(1, 1), add(2, 2)]) | xsum_p()).countdown(Duration::from_secs(10)).send(&app).await.unwrap();
    let messages = sent.take();
    assert!(messages.iter().all(|message| message.message.headers.eta.is_some()), "the header waits");
    assert_eq!(body(&messages[0])[2]["chord"]["options"].get("countdown"), None);
    assert_eq!(body(&messages[0])[2]["chord"]["options"]["task_id"].as_str(), Some(chord.id().as_str()));
}
