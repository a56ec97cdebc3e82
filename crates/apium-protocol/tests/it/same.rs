//! Compares values: maps in any order, and NaN equal to itself.

use apium_protocol::value::value::Value;

/// Whether two values are the same. An integer differs from a float.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    compare(a, b, false)
}

/// Like [`same`], but 300 and 300.0 are the same, as in headers.
pub(crate) fn same_numbers(a: &Value, b: &Value) -> bool {
    compare(a, b, true)
}

fn compare(a: &Value, b: &Value, loose: bool) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| compare(a, b, loose)),
        (Value::Map(a), Value::Map(other)) => {
            a.len() == other.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| compare(a, b, loose)))
        }
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) if loose => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}
