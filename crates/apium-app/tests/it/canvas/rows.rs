//! Groups in a row: each is a header, and what comes after it is its body, however many there are and however they were
//! joined.

use apium_app::canvas::freeze::{Ids, WorkflowIds};
use apium_app::canvas::node::{ChainNode, Node};
use apium_app::canvas::plan::SendWith;
use apium_app::canvas::send::send_with;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::rules::{shape, task};
use crate::kit;

/// The most groups in a row.
const MOST: usize = 5;

/// `count` groups of two members each, named in order: `a b`, `c d`, …
fn groups(count: usize) -> Vec<Node> {
    let names = ('a'..='z').map(|name| task(&name.to_string()));
    let names: Vec<Node> = names.take(2 * count).collect();
    names.chunks(2).map(|pair| Node::group(pair.to_vec())).collect()
}

/// These steps as a chain that nothing has joined, as a message may hold it.
fn unjoined(steps: Vec<Node>) -> Node {
    let mut chain = ChainNode::default();
    chain.steps = steps;
    Node::Chain(chain)
}

/// These steps as Celery's `chain` joins them: a group before the last task becomes a chord with it, the others stay.
fn joined_at_the_end(mut steps: Vec<Node>) -> Node {
    let last = steps.pop().unwrap();
    let before = steps.pop().unwrap();
    steps.push(before.pipe(last));
    unjoined(steps)
}

/// What is sent for a node: its shape once its steps are in order.
fn sendable(mut node: Node) -> String {
    node.freeze(WorkflowIds::default(), &mut Ids::random("reply".into())).unwrap();
    shape(&without_single_steps(node))
}

/// The same node, where a chain of one step is that step.
fn without_single_steps(node: Node) -> Node {
    match node {
        Node::Chain(mut chain) if chain.steps.len() == 1 => without_single_steps(chain.steps.remove(0)),
        Node::Chord(mut chord) => {
            *chord.body = without_single_steps(*chord.body);
            Node::Chord(chord)
        }
        node => node,
    }
}

/// The shape of a chord of this group and a body.
fn chord_of(group: &Node, body: &str) -> String {
    let Node::Group(group) = group else { unreachable!("all are groups") };
    format!("chord({}; {body})", group.members.iter().map(shape).collect::<Vec<_>>().join(", "))
}

/// The shape of groups in a row with a task behind them: chords in each other.
fn nested(count: usize, last: &str) -> String {
    groups(count).iter().rev().fold(last.to_owned(), |body, group| chord_of(group, &body))
}

/// The shape of groups in a row with nothing behind them.
fn nested_alone(count: usize) -> String {
    let mut groups = groups(count);
    let last = groups.pop().map(|last| shape(&last)).unwrap_or_default();
    groups.iter().rev().fold(last, |body, group| chord_of(group, &body))
}

#[test]
fn a_row_of_groups_is_one_chord_in_another_however_it_was_joined() {
    for count in 1..=MOST {
        let mut steps = groups(count);
        assert_eq!(sendable(unjoined(steps.clone())), nested_alone(count), "{count} groups alone, unjoined");
        assert_eq!(sendable(Node::chain(steps.clone())), nested_alone(count), "{count} groups alone, joined");
        steps.push(task("z"));
        let expected = nested(count, "z");
        assert_eq!(sendable(unjoined(steps.clone())), expected, "{count} groups and a task, unjoined");
        assert_eq!(
            sendable(joined_at_the_end(steps.clone())),
            expected,
            "{count} groups and a task, as Celery joins them"
        );
        assert_eq!(sendable(Node::chain(steps.clone())), expected, "{count} groups and a task, joined");
        // Joined from the left, one step at a time, with a chord among the steps.
        for split in 1..count {
            let (left, right) = steps.split_at(split);
            let parts = vec![Node::chain(left.to_vec()), Node::chain(right.to_vec())];
            assert_eq!(sendable(unjoined(parts)), expected, "{count} groups, joined in two parts at {split}");
        }
    }
}

#[test]
fn a_task_before_a_row_and_several_behind_it_stay_steps() {
    for count in 1..=MOST {
        let mut steps = vec![task("y")];
        steps.extend(groups(count));
        steps.extend([task("z"), task("x")]);
        let expected = format!("chain(y, {}, x)", nested(count, "z"));
        assert_eq!(sendable(unjoined(steps.clone())), expected, "{count}");
        // Joined by `|`, what follows belongs to the innermost body, as in Celery.
        let expected = match count {
            1 => expected,
            _ => format!("chain(y, {})", nested(count, "chain(z, x)")),
        };
        assert_eq!(sendable(Node::chain(steps)), expected, "{count}");
    }
}

#[test]
fn a_row_in_the_body_of_a_chord_is_followed_once() {
    for count in 1..=MOST {
        let mut steps = groups(count);
        let chord = |body: Node| Node::chord([task("x"), task("y")], body);
        let expected = format!("chord(x, y; {})", nested(count, "z"));
        // Behind the chord a task: it waits for the last group of the body.
        let followed = unjoined(vec![chord(unjoined(steps.clone())), task("z")]);
        assert_eq!(sendable(followed), expected, "{count} groups, and a task behind the chord");
        steps.push(task("z"));
        assert_eq!(sendable(chord(joined_at_the_end(steps.clone()))), expected, "{count} groups and a task");
        assert_eq!(sendable(chord(unjoined(steps))), expected, "{count} groups and a task, unjoined");
    }
}

/// The messages that follow the header of a chord whose body is a row: the members of the first group alone, and one
/// chord that waits for them.
#[tokio::test]
async fn a_row_sends_its_first_group_and_opens_one_chord() {
    for count in 1..=MOST {
        let (app, out) = kit::app().await;
        let mut steps = groups(count);
        steps.push(task("z"));
        let results = SendWith::result(Json::from_text("[1, 2]").unwrap());
        send_with(&app, joined_at_the_end(steps), results).await.unwrap();
        let sent = out.take();
        let names: Vec<String> =
            sent.iter().map(|sent| sent.message.headers.task.as_deref().unwrap_or("?").to_owned()).collect();
        assert_eq!(names, ["a", "b"], "{count}");
        for sent in &sent {
            let body: serde_json::Value = serde_json::from_slice(&sent.message.body).unwrap();
            assert!(body[2]["chain"].as_array().is_none_or(Vec::is_empty), "{count}: nothing follows each member");
            let chord = WireSignature::from_json(body[2]["chord"].to_string().as_bytes()).unwrap();
            let body = Node::from_wire(&chord).unwrap();
            let inner = groups(count)[1..].iter().rev().fold("z".to_owned(), |body, group| chord_of(group, &body));
            assert_eq!(sendable(body), inner, "{count}");
        }
    }
}

/// A step that is sent with the steps behind it, as a worker sends it: what Celery's `|` leaves behind a chord of two
/// groups waits for the second one.
#[tokio::test]
async fn steps_behind_a_chord_of_two_groups_are_joined_with_it() {
    let [first, second, third, fourth, _] = &groups(5)[..] else { unreachable!("there are five") };
    let behind = [fourth.clone().pipe(task("z")), third.clone()].map(|step| step.to_wire().unwrap());
    let stored = |mut node: Node| {
        node.options_mut().rare_mut().chain = Some(behind.iter().cloned().collect());
        (node, SendWith::default())
    };
    let given = |node: Node| {
        let mut with = SendWith::default();
        with.options.rare_mut().chain = Some(behind.iter().cloned().collect());
        (node, with)
    };
    let chord = || first.clone().pipe(second.clone());
    let inner = format!("chord(e, f; {})", chord_of(fourth, "z"));
    for (node, with) in [given(chord()), stored(chord()), given(second.clone()), stored(second.clone())] {
        let is_chord = matches!(node, Node::Chord(_));
        let (app, out) = kit::app().await;
        send_with(&app, node, with).await.unwrap();
        for sent in out.take() {
            let body: serde_json::Value = serde_json::from_slice(&sent.message.body).unwrap();
            assert!(body[2]["chain"].as_array().is_none_or(Vec::is_empty), "nothing follows each member");
            let chord = WireSignature::from_json(body[2]["chord"].to_string().as_bytes()).unwrap();
            let expected = if is_chord { format!("chord(c, d; {inner})") } else { inner.clone() };
            assert_eq!(sendable(Node::from_wire(&chord).unwrap()), expected);
        }
    }
}
