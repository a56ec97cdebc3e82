//! What Python's operators do with values, as far as the tasks need it.

use std::time::Duration;

use apium::prelude::*;

/// Whether Python takes it for true.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) => false,
        Value::Float(number) => *number != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(list) => !list.is_empty(),
        _ => true,
    }
}

/// `x + y`, for numbers, texts and lists.
pub(crate) fn add(x: &Value, y: &Value) -> TaskResult<Value> {
    match (x, y) {
        (Value::Int(x), Value::Int(y)) => match x.checked_add(*y) {
            Some(sum) => Ok(Value::Int(sum)),
            None => Ok(Value::BigInt((i128::from(*x) + i128::from(*y)).to_string())),
        },
        (Value::Str(x), Value::Str(y)) => Ok(Value::Str(format!("{x}{y}"))),
        (Value::List(x), Value::List(y)) => Ok(Value::List([x.as_slice(), y].concat())),
        _ => match (x.as_f64(), y.as_f64()) {
            (Some(x), Some(y)) => Ok(Value::Float(x + y)),
            _ => {
                let text = format!("unsupported operand type(s) for +: '{}' and '{}'", class(x), class(y));
                Err(TaskError::of_class("builtins.TypeError", &text))
            }
        },
    }
}

/// `sum(values)`.
pub(crate) fn sum(values: &[Value]) -> TaskResult<Value> {
    values.iter().try_fold(Value::Int(0), |sum, value| add(&sum, value))
}

/// `time.sleep(seconds)`.
pub(crate) async fn sleep(seconds: f64) -> TaskResult<()> {
    let never = std::future::pending::<()>();
    // It is the time that is waited for: the future never ends.
    let _ = tokio::time::timeout(Duration::try_from_secs_f64(seconds)?, never).await;
    Ok(())
}

/// A number of seconds as Python has it: 30 and not 30.0.
pub(crate) fn seconds(number: f64) -> Value {
    if number.fract() == 0.0 { Value::Int(number as i64) } else { Value::Float(number) }
}

fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::BigInt(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::List(_) => "list",
        Value::Map(_) => "dict",
        _ => "object",
    }
}
