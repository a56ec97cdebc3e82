//! Tasks that return a value made of their arguments.

use std::io::Write as _;

use apium::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{python, store};

#[task(name = "t.integration.tasks.identity")]
pub(crate) async fn identity(x: Value) -> Value {
    x
}

#[task(name = "t.integration.tasks.add")]
pub(crate) async fn add(x: Value, y: Value, #[default] z: Option<Value>) -> TaskResult<Value> {
    let sum = python::add(&x, &y)?;
    match z.filter(python::is_true) {
        Some(z) => python::add(&sum, &z),
        None => Ok(sum),
    }
}

#[task(name = "t.integration.tasks.mul")]
pub(crate) async fn mul(x: i64, y: i64) -> i64 {
    x * y
}

#[task(name = "t.integration.tasks.add_not_typed")]
pub(crate) async fn add_not_typed(x: Value, y: Value) -> TaskResult<Value> {
    python::add(&x, &y)
}

#[task(name = "t.integration.tasks.add_ignore_result", ignore_result)]
pub(crate) async fn add_ignore_result(x: Value, y: Value) -> TaskResult<Value> {
    python::add(&x, &y)
}

#[task(name = "t.integration.tasks.add_with_result", ignore_result = false)]
pub(crate) async fn add_with_result(x: Value, y: Value) -> TaskResult<Value> {
    python::add(&x, &y)
}

#[task(name = "t.integration.tasks.tsum")]
pub(crate) async fn tsum(nums: Vec<Value>) -> TaskResult<Value> {
    python::sum(&nums)
}

#[task(name = "t.integration.tasks.xsum")]
pub(crate) async fn xsum(nums: Vec<Value>) -> TaskResult<Value> {
    let flat = nums.iter().map(|num| match num {
        Value::List(list) => python::sum(list),
        other => Ok(other.clone()),
    });
    python::sum(&flat.collect::<TaskResult<Vec<_>>>()?)
}

#[task(name = "t.integration.tasks.sum_and_record")]
pub(crate) async fn sum_and_record(ctx: &Ctx, values: Vec<Value>, redis_key: String) -> TaskResult<Value> {
    let sum = python::sum(&values)?;
    store::push(&redis_key, ctx.request().id().map_or("", |id| id.as_str())).await?;
    Ok(sum)
}

#[task(name = "t.integration.tasks.delayed_sum")]
pub(crate) async fn delayed_sum(numbers: Vec<Value>, #[default(1.0)] pause_time: f64) -> TaskResult<Value> {
    python::sleep(pause_time).await?;
    python::sum(&numbers)
}

#[task(name = "t.integration.tasks.delayed_sum_with_soft_guard")]
pub(crate) async fn delayed_sum_with_soft_guard(
    ctx: &Ctx,
    numbers: Vec<Value>,
    #[default(1.0)] pause_time: f64,
) -> TaskResult<Value> {
    tokio::select! {
        slept = python::sleep(pause_time) => slept.and_then(|()| python::sum(&numbers)),
        () = ctx.soft_limit().wait() => Ok(Value::Int(0)),
    }
}

#[task(name = "t.integration.tasks.write_to_file_and_return_int")]
pub(crate) fn write_to_file_and_return_int(file_name: String, i: i64) -> TaskResult<i64> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file_name)?;
    file.write_all(format!("{i}\n").as_bytes())?;
    Ok(i)
}

#[task(name = "t.integration.tasks.sleeping")]
pub(crate) async fn sleeping(i: f64, _others: Kwargs) -> TaskResult<()> {
    python::sleep(i).await
}

#[task(name = "t.integration.tasks.print_unicode")]
pub(crate) async fn print_unicode(
    #[default("håå®ƒ valmuefrø".to_owned())] log_message: String,
    #[default("hiöäüß".to_owned())] print_message: String,
) -> TaskResult<()> {
    // Python's worker prints both to the stream of its log.
    std::io::stderr().write_all(format!("{log_message}\n{print_message}\n").as_bytes())?;
    Ok(())
}

/// The model of a task with `pydantic=True`: a map with two whole numbers.
#[derive(Deserialize, Serialize)]
pub(crate) struct AddParameterModel {
    x: i64,
    y: i64,
}

/// What such a task returns.
#[derive(Deserialize, Serialize)]
pub(crate) struct AddResultModel {
    result: i64,
}

#[task(name = "t.integration.tasks.add_pydantic")]
pub(crate) async fn add_pydantic(data: AddParameterModel) -> AddResultModel {
    AddResultModel { result: data.x + data.y }
}

#[task(name = "t.integration.tasks.add_pydantic_string_annotations")]
pub(crate) async fn add_pydantic_string_annotations(data: AddParameterModel) -> AddResultModel {
    AddResultModel { result: data.x + data.y }
}
