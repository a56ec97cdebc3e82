//! Python's `+` and `*` on values, as far as the tasks need them.

use apium::prelude::*;

/// `x + y`: numbers, texts and lists.
pub(crate) fn add(x: &Value, y: &Value) -> Result<Value, Failure> {
    match (x, y) {
        (Value::Str(x), Value::Str(y)) => Ok(Value::Str(format!("{x}{y}"))),
        (Value::List(x), Value::List(y)) => Ok(Value::List([x.as_slice(), y].concat())),
        _ => arithmetic("+", x, y, i128::checked_add, |x, y| x + y),
    }
}

/// `x * y`: numbers.
pub(crate) fn mul(x: &Value, y: &Value) -> Result<Value, Failure> {
    arithmetic("*", x, y, i128::checked_mul, |x, y| x * y)
}

/// `sum(values)`.
pub(crate) fn sum(values: &[Value]) -> Result<Value, Failure> {
    values.iter().try_fold(Value::Int(0), |sum, value| match value {
        Value::Str(_) | Value::List(_) => Err(unsupported("+", &sum, value)),
        _ => add(&sum, value),
    })
}

/// On integers as long as they fit, otherwise on floats.
fn arithmetic(
    sign: &str,
    x: &Value,
    y: &Value,
    exact: fn(i128, i128) -> Option<i128>,
    rounded: fn(f64, f64) -> f64,
) -> Result<Value, Failure> {
    let (exact_x, exact_y) = (integer(x), integer(y));
    if let (Some(x), Some(y)) = (exact_x, exact_y) {
        let value = exact(x, y).ok_or_else(|| {
            Failure::of_class("builtins.OverflowError", "the integers are too large for this program")
        })?;
        return Ok(i64::try_from(value).map_or_else(|_| Value::BigInt(value.to_string()), Value::Int));
    }
    let float = |value: &Value, exact: Option<i128>| exact.map(|n| n as f64).or_else(|| value.as_f64());
    match (float(x, exact_x), float(y, exact_y)) {
        (Some(x), Some(y)) => Ok(Value::Float(rounded(x, y))),
        _ => Err(unsupported(sign, x, y)),
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(truth) => Some((*truth).into()),
        Value::Int(number) => Some((*number).into()),
        Value::BigInt(digits) => digits.parse().ok(),
        _ => None,
    }
}

fn unsupported(sign: &str, x: &Value, y: &Value) -> Failure {
    let message = format!("unsupported operand type(s) for {sign}: '{}' and '{}'", class(x), class(y));
    Failure::of_class("builtins.TypeError", &message)
}

/// The name of a value's class in Python.
fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::BigInt(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "list",
        Value::Map(_) => "dict",
        Value::DateTime(_) => "datetime.datetime",
        Value::Date(_) => "datetime.date",
        Value::Time(_) => "datetime.time",
        Value::Decimal(_) => "decimal.Decimal",
        Value::Uuid(_) => "UUID",
    }
}
