//! The types of plain scalars in YAML 1.1, as PyYAML resolves them.

use crate::timestamp;
use crate::value::value::Value;

/// The value of a scalar without quotes and tag.
pub(crate) fn plain(text: &str) -> Value {
    null(text)
        .or_else(|| boolean(text))
        .or_else(|| int(text))
        .or_else(|| float(text))
        .or_else(|| if looks_like_a_date(text) { instant(text) } else { None })
        .unwrap_or_else(|| Value::Str(text.to_owned()))
}

pub(crate) fn null(text: &str) -> Option<Value> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then_some(Value::Null)
}

pub(crate) fn boolean(text: &str) -> Option<Value> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Value::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn int(text: &str) -> Option<Value> {
    let (negative, digits) = signed(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.contains(':') {
        let seconds = sexagesimal(digits)?;
        return Some(Value::Int(if negative { -seconds } else { seconds }));
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let radix = match plain.as_bytes() {
        [b'0', b'x', ..] => Some((16, &plain[2..])),
        [b'0', b'b', ..] => Some((2, &plain[2..])),
        [b'0', _, ..] => Some((8, &plain[1..])),
        _ => None,
    };
    if let Some((radix, digits)) = radix {
        if digits.starts_with(['+', '-']) {
            return None;
        }
        let value = i128::from_str_radix(digits, radix).ok()?;
        return Some(if negative { -value } else { value }.into());
    }
    if !all_digits(&plain) {
        return None;
    }
    let text = if negative && plain != "0" { format!("-{plain}") } else { plain };
    Some(text.parse().map_or_else(|_| Value::BigInt(text), Value::Int))
}

/// Reads a number in base 60, such as `190:20:30`.
fn sexagesimal(digits: &str) -> Option<i64> {
    let mut parts = digits.split(':');
    let first = parts.next()?.replace('_', "");
    if first.starts_with('0') || !all_digits(&first) {
        return None;
    }
    parts.try_fold(first.parse().ok()?, |sum: i64, part| {
        let is_valid = matches!(part.len(), 1 | 2) && all_digits(part);
        let value: i64 = part.parse().ok().filter(|value| is_valid && *value < 60)?;
        sum.checked_mul(60)?.checked_add(value)
    })
}

pub(crate) fn float(text: &str) -> Option<Value> {
    let (negative, digits) = signed(text);
    let sign = if negative { -1.0 } else { 1.0 };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if digits == text => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let figures = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let begins = digits.starts_with(|c: char| c.is_ascii_digit())
        || whole.is_empty() && fraction.starts_with(|c: char| c.is_ascii_digit());
    let exponent_is_valid = exponent
        .is_none_or(|e| e.strip_prefix(['+', '-']).is_some_and(|figures| !figures.is_empty() && all_digits(figures)));
    if !begins || !figures(whole) || !figures(fraction) || !exponent_is_valid {
        return None;
    }
    digits.replace('_', "").parse().ok().map(|value: f64| Value::Float(sign * value))
}

fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && all_digits(&text.chars().take(4).collect::<String>()) && bytes[4] == b'-' && text.is_ascii()
}

/// Reads a date or an instant. Month, day and hour may have one digit.
pub(crate) fn instant(text: &str) -> Option<Value> {
    let (date, time) = match text.find(['T', 't', ' ', '\t']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim())),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    let is_valid = |part: &str| matches!(part.len(), 1 | 2) && all_digits(part);
    if year.len() != 4 || !is_valid(month) || !is_valid(day) {
        return None;
    }
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    let Some(time) = time else {
        return (text.len() == 10).then(|| timestamp::split(&date)).flatten().map(|_| Value::Date(date));
    };
    let hours = time.find(':')?;
    // There may be blanks before the offset.
    let time: String = format!("{:0>2}{}", &time[..hours], &time[hours..]).split_whitespace().collect();
    if time.matches(':').count() < 2 {
        return None;
    }
    // An offset may have one digit.
    let time = match time.rfind(['+', '-']) {
        Some(at) if time.len() - at == 2 => format!("{}0{}", &time[..=at], &time[at + 1..]),
        _ => time,
    };
    let (local, offset) = timestamp::split(&format!("{date}T{time}"))?;
    Some(Value::DateTime(timestamp::isoformat(local, offset)))
}
