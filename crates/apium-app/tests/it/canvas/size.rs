//! What is published grows with the number of nodes, and with nothing else (the guarantee `group-publishing`).

use apium_app::canvas::node::Node;
use apium_app::canvas::send::send;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::kit;

fn task(name: &str) -> Node {
    Node::from_wire(&WireSignature::new(name)).unwrap()
}

fn tasks(count: usize) -> impl Iterator<Item = Node> {
    (0..count).map(|_| task("tasks.add"))
}

/// The number of bytes of all messages of a workflow.
async fn published(node: Node) -> usize {
    let (app, sent) = kit::app().await;
    send(&app, node).await.unwrap();
    let size =
        |message: &apium_protocol::message::message::Message| message.headers.to_json().len() + message.body.len();
    sent.take().iter().map(|outgoing| size(&outgoing.message)).sum()
}

/// Ten times the nodes make ten times the bytes, apart from the digits of the indexes.
async fn grows_linearly(name: &str, shape: impl Fn(usize) -> Node) {
    let (small, large) = (published(shape(100)).await, published(shape(1_000)).await);
    let growth = large as f64 / small as f64;
    assert!((9.5..10.5).contains(&growth), "{name}: {small} bytes became {large}");
}

#[tokio::test]
async fn promise_11_bytes_grow_with_the_number_of_members() {
    grows_linearly("a group", |members| Node::group(tasks(members))).await;
    grows_linearly("a chord", |members| Node::chord(tasks(members), task("tasks.xsum"))).await;
    grows_linearly("a header of chains", |members| {
        let chain = || Node::chain([task("tasks.add"), task("tasks.mul")]);
        Node::chord((0..members).map(|_| chain()), task("tasks.xsum"))
    })
    .await;
    grows_linearly("a header of chords", |members| {
        let inner = || Node::chord(tasks(2), task("tasks.xsum"));
        Node::chord((0..members).map(|_| inner()), task("tasks.xsum"))
    })
    .await;
}

/// In Celery the bytes double with each level of nesting, since headers carry bodies that carry headers.
#[tokio::test]
async fn promise_11_nesting_adds_a_body_for_each_level_and_no_header() {
    let nested = |depth: usize| {
        (0..depth).fold(task("tasks.add"), |inner, _| Node::chord([inner, task("tasks.add")], task("tasks.xsum")))
    };
    let sizes = [published(nested(2)).await, published(nested(4)).await, published(nested(8)).await];
    // Each level has one message more, which carries the bodies around it: at most quadratic in the depth, never
    // doubling.
    assert!(sizes[1] < sizes[0] * 5 / 2 && sizes[2] < sizes[1] * 3, "{sizes:?}");
}

#[tokio::test]
async fn promise_11_a_chain_sends_one_message() {
    let (app, sent) = kit::app().await;
    send(&app, Node::chain(tasks(100))).await.unwrap();
    let first = sent.one();
    assert!(first.message.body.len() < 100 * 300, "a step costs {} bytes", first.message.body.len() / 100);
}
