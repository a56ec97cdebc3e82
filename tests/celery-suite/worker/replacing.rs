//! Tasks that put something else in their place, or grow their chord.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use apium::task::Arguments;

use crate::errbacks::redis_echo;
use crate::failing::{fail, raise_error};
use crate::numbers::{add, identity, tsum};
use crate::store;

#[task(name = "t.integration.tasks.add_replaced")]
pub(crate) async fn add_replaced(ctx: &Ctx, x: Value, y: Value) -> TaskResult<Value> {
    Err(ctx.replace(add::s_required(x, y)))
}

#[task(name = "t.integration.tasks.record_replaced_task_nesting")]
pub(crate) async fn record_replaced_task_nesting(
    ctx: &Ctx,
    replacements: u32,
    #[default] nesting: Option<Vec<u32>>,
) -> TaskResult<Vec<u32>> {
    let mut nesting = nesting.unwrap_or_default();
    nesting.push(ctx.request().headers.replaced_task_nesting);
    let Some(left) = replacements.checked_sub(1) else { return Ok(nesting) };
    let replacement = record_replaced_task_nesting::s(left, Some(nesting));
    Err(match ctx.request().reply_to() {
        // The caller waits at its own queue where results are sent as messages.
        Some(queue) => ctx.replace(replacement.reply_to(queue)),
        None => ctx.replace(replacement),
    })
}

#[task(name = "t.integration.tasks.add_replaced_with_chain")]
pub(crate) async fn add_replaced_with_chain(ctx: &Ctx, x: Value, y: Value) -> TaskResult<Value> {
    Err(ctx.replace(add::s_required(x, y) | identity::p()))
}

/// `identity.s(*args)`, with as many arguments as there are.
fn identity_of(args: Args) -> Signature<Anything, Value> {
    Signature::by_name(identity::NAME, Ok(Arguments::new(args.0, Vec::new())))
}

/// `redis_echo.s()`, or with a message the immutable signature that tells it.
fn echo(message: Option<Value>) -> TaskResult<WireSignature> {
    Ok(match message {
        Some(message) => redis_echo::s_required(message).into_immutable().to_wire()?,
        None => redis_echo::p_required().to_wire()?,
    })
}

#[task(name = "t.integration.tasks.replace_with_chain")]
pub(crate) async fn replace_with_chain(ctx: &Ctx, args: Args, #[default] link_msg: Option<Value>) -> TaskResult<Value> {
    Err(ctx.replace((identity_of(args) | identity::p()).link(echo(link_msg)?)))
}

#[task(name = "t.integration.tasks.replace_with_chain_which_raises")]
pub(crate) async fn replace_with_chain_which_raises(
    ctx: &Ctx,
    args: Args,
    #[default] link_msg: Option<Value>,
) -> TaskResult<Value> {
    Err(ctx.replace((identity_of(args) | raise_error::p(Args::default())).link_error(echo(link_msg)?)))
}

#[task(name = "t.integration.tasks.replace_with_empty_chain")]
pub(crate) async fn replace_with_empty_chain(ctx: &Ctx, _args: Args) -> TaskResult<Value> {
    Err(ctx.replace(Node::chain([])))
}

#[task(name = "t.integration.tasks.replace_with_chain_which_contains_a_group")]
pub(crate) async fn replace_with_chain_which_contains_a_group(ctx: &Ctx) -> TaskResult<Value> {
    let one = || add::p_required(Value::Int(1));
    Err(ctx.replace(add::s_required(Value::Int(1), Value::Int(2)) | group([one(), one()])))
}

#[task(name = "t.integration.tasks.add_to_all")]
pub(crate) async fn add_to_all(ctx: &Ctx, nums: Vec<Value>, val: Value) -> TaskResult<Value> {
    Err(ctx.replace(group(nums.into_iter().map(|num| add::s_required(num, val.clone())))))
}

#[task(name = "t.integration.tasks.add_to_all_to_chord")]
pub(crate) async fn add_to_all_to_chord(ctx: &Ctx, nums: Vec<Value>, val: Value) -> TaskResult<i64> {
    for num in nums {
        ctx.add_to_chord(add::s_required(num, val.clone())).await?;
    }
    Ok(0)
}

#[task(name = "t.integration.tasks.add_chord_to_chord")]
pub(crate) async fn add_chord_to_chord(ctx: &Ctx, nums: Vec<Value>, val: Value) -> TaskResult<i64> {
    let sums = group(nums.into_iter().map(|num| add::s_required(num, val.clone())));
    ctx.add_to_chord(sums | tsum::p()).await?;
    Ok(0)
}

#[task(name = "t.integration.tasks.second_order_replace1")]
pub(crate) async fn second_order_replace1(ctx: &Ctx, #[default] state: bool) -> TaskResult<()> {
    if state {
        return store::push("redis-echo", "Out A").await;
    }
    store::push("redis-echo", "In A").await?;
    Err(ctx.replace(second_order_replace2::s_required() | second_order_replace1::si(true)))
}

#[task(name = "t.integration.tasks.second_order_replace2")]
pub(crate) async fn second_order_replace2(ctx: &Ctx, #[default] state: bool) -> TaskResult<()> {
    if state {
        return store::push("redis-echo", "Out B").await;
    }
    store::push("redis-echo", "In B").await?;
    Err(ctx.replace(redis_echo::s_required(Value::Str("In/Out C".to_owned())) | second_order_replace2::si(true)))
}

#[task(name = "t.integration.tasks.fail_replaced")]
pub(crate) async fn fail_replaced(ctx: &Ctx, args: Args) -> TaskResult<Value> {
    Err(ctx.replace(fail::si(args)))
}

#[task(name = "t.integration.tasks.replaced_with_me")]
pub(crate) async fn replaced_with_me() -> bool {
    true
}

/// Stamps what replaces the task.
async fn stamped(_ctx: &Ctx, with: Signature<Anything, Json>) -> Signature<Anything, Json> {
    with.stamp("StampOnReplace", "This is the replaced task")
}

#[task(name = "t.integration.tasks.replace_with_stamped_task", on_replace = stamped)]
pub(crate) async fn replace_with_stamped_task(
    ctx: &Ctx,
    #[default] replace_with: Option<WireSignature>,
) -> TaskResult<Json> {
    Err(match replace_with {
        Some(signature) => ctx.replace(signature),
        None => ctx.replace(replaced_with_me::s()),
    })
}
