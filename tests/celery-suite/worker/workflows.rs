//! Tasks that send workflows, or return them.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;

use crate::numbers::add;

#[task(name = "t.integration.tasks.chain_add")]
pub(crate) async fn chain_add(x: Value, y: Value) -> TaskResult<()> {
    (add::s_required(x.clone(), x) | add::p_required(y)).send(&App::current()?).await?;
    Ok(())
}

#[task(name = "t.integration.tasks.chord_add")]
pub(crate) async fn chord_add(x: Value, y: Value) -> TaskResult<()> {
    let body = add::p_required(y).cast::<Vec<Value>, Value>();
    chord([add::s_required(x.clone(), x)], body).send(&App::current()?).await?;
    Ok(())
}

#[task(name = "t.integration.tasks.build_chain_inside_task")]
pub(crate) async fn build_chain_inside_task(_ctx: &Ctx) -> TaskResult<Json> {
    let plus = |number: i64| add::p_required(Value::Int(number));
    let last = plus(5).cast::<Vec<Value>, Value>();
    let workflow = add::s_required(Value::Int(1), Value::Int(1)) | plus(2) | group([plus(3), plus(4)]) | last;
    let result = workflow.send(&App::current()?).await?;
    Ok(Json::from_serialize(&result.as_tuple())?)
}

/// `add.s()`, which lacks both of its arguments.
fn bare() -> TaskResult<Node> {
    Ok(Node::from_wire(&WireSignature::new(add::NAME))?)
}

/// Tasks that return a workflow of this shape, which is never sent.
macro_rules! returned {
    ($($name:ident, $wire:literal: $node:expr;)+) => {$(
        #[task(name = $wire)]
        pub(crate) async fn $name() -> TaskResult<WireSignature> {
            Ok($node.to_wire()?)
        }
    )+};
}

returned! {
    return_nested_signature_chain_chain, "t.integration.tasks.return_nested_signature_chain_chain":
        Node::chain([Node::chain([bare()?])]);
    return_nested_signature_chain_group, "t.integration.tasks.return_nested_signature_chain_group":
        Node::chain([Node::group([bare()?])]);
    return_nested_signature_chain_chord, "t.integration.tasks.return_nested_signature_chain_chord":
        Node::chain([Node::chord([bare()?], bare()?)]);
    return_nested_signature_group_chain, "t.integration.tasks.return_nested_signature_group_chain":
        Node::group([Node::chain([bare()?])]);
    return_nested_signature_group_group, "t.integration.tasks.return_nested_signature_group_group":
        Node::group([Node::group([bare()?])]);
    return_nested_signature_group_chord, "t.integration.tasks.return_nested_signature_group_chord":
        Node::group([Node::chord([bare()?], bare()?)]);
    return_nested_signature_chord_chain, "t.integration.tasks.return_nested_signature_chord_chain":
        Node::chord([Node::chain([bare()?])], bare()?);
    return_nested_signature_chord_group, "t.integration.tasks.return_nested_signature_chord_group":
        Node::chord([Node::group([bare()?])], bare()?);
    return_nested_signature_chord_chord, "t.integration.tasks.return_nested_signature_chord_chord":
        Node::chord([Node::chord([bare()?], bare()?)], bare()?);
}

#[task(name = "t.integration.tasks.rebuild_signature")]
pub(crate) async fn rebuild_signature(sig_dict: WireSignature) -> TaskResult<()> {
    Node::from_wire(&sig_dict)?;
    Ok(())
}
