//! The values of options: times, rate limits, numbers, texts, flags.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::ParseStream;
use syn::{Error, Lit, LitBool, LitStr, Result, Token};

/// A time span, in nanoseconds, with the place where it is written.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) nanos: u128,
    pub(crate) span: Span,
}

impl Time {
    pub(crate) fn tokens(self) -> TokenStream {
        let (seconds, nanos) = ((self.nanos / NANOS) as u64, (self.nanos % NANOS) as u32);
        quote!(::core::time::Duration::new(#seconds, #nanos))
    }
}

const NANOS: u128 = 1_000_000_000;

const UNITS: [(&str, u128); 7] = [
    ("ms", NANOS / 1000),
    ("us", NANOS / 1_000_000),
    ("d", 86_400 * NANOS),
    ("h", 3600 * NANOS),
    ("m", 60 * NANOS),
    ("s", NANOS),
    ("w", 7 * 86_400 * NANOS),
];

/// Reads a time span: `= "90s"`, `= 90`, `= 1.5`.
pub(crate) fn time(input: ParseStream<'_>) -> Result<Time> {
    input.parse::<Token![=]>()?;
    let literal: Lit = input.parse().map_err(|e| Error::new(e.span(), TIME))?;
    let span = literal.span();
    let nanos = match &literal {
        Lit::Int(seconds) if seconds.suffix().is_empty() => {
            seconds.base10_parse::<u64>().ok().map(|s| u128::from(s) * NANOS)
        }
        Lit::Float(seconds) if seconds.suffix().is_empty() => seconds.base10_parse::<f64>().ok().and_then(from_seconds),
        Lit::Str(text) => from_text(&text.value()),
        _ => None,
    };
    match nanos {
        Some(nanos) if nanos / NANOS <= u128::from(u32::MAX) => Ok(Time { nanos, span }),
        Some(_) => Err(Error::new(span, "this time is longer than 136 years")),
        None => Err(Error::new(span, TIME)),
    }
}

const TIME: &str =
    "this is not a time: write seconds as a number, or a text like \"90s\", \"10m\", \"1h30m\" or \"250ms\"";

fn from_seconds(seconds: f64) -> Option<u128> {
    std::time::Duration::try_from_secs_f64(seconds).ok().map(|time| time.as_nanos())
}

/// Nanoseconds of a text: numbers with units, one after the other (`1h30m`), or a number of seconds.
fn from_text(text: &str) -> Option<u128> {
    let mut unread = text.trim();
    if let Ok(seconds) = unread.parse::<f64>() {
        return from_seconds(seconds);
    }
    let mut nanos = 0_u128;
    while !unread.is_empty() {
        let digits = unread.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = unread[..digits].parse().ok()?;
        let (unit, size) = UNITS.iter().find(|(unit, _)| unread[digits..].starts_with(unit))?;
        nanos += (number * *size as f64) as u128;
        unread = unread[digits + unit.len()..].trim_start();
    }
    (!text.trim().is_empty()).then_some(nanos)
}

/// Reads a rate limit: `= "100/m"`, `= 10`, `= 2.5`.
pub(crate) fn rate_limit(input: ParseStream<'_>) -> Result<LitStr> {
    const RATE: &str = "this is not a rate limit: write a number of starts and s, m or h, like \"100/m\", or a number of starts per second";
    input.parse::<Token![=]>()?;
    let literal: Lit = input.parse().map_err(|e| Error::new(e.span(), RATE))?;
    let text = match &literal {
        Lit::Str(text) => text.value(),
        Lit::Int(number) if number.suffix().is_empty() => number.base10_digits().to_owned(),
        Lit::Float(number) if number.suffix().is_empty() => number.base10_digits().to_owned(),
        _ => return Err(Error::new(literal.span(), RATE)),
    };
    let (count, unit) = text.split_once('/').unwrap_or((&text, "s"));
    let count_fits = count.trim().parse::<f64>().is_ok_and(|count| count.is_finite() && count >= 0.0);
    match count_fits && matches!(unit.trim(), "s" | "m" | "h") {
        true => Ok(LitStr::new(&text, literal.span())),
        false => Err(Error::new(literal.span(), RATE)),
    }
}

/// Reads a text that is not empty: `= "text"`.
pub(crate) fn text(input: ParseStream<'_>) -> Result<LitStr> {
    input.parse::<Token![=]>()?;
    let literal: LitStr = input.parse().map_err(|e| Error::new(e.span(), "write a text in quotes here"))?;
    match literal.value().is_empty() {
        true => Err(Error::new(literal.span(), "this text must not be empty")),
        false => Ok(literal),
    }
}

/// Reads a flag: nothing (which is true), `= true` or `= false`.
pub(crate) fn flag(input: ParseStream<'_>) -> Result<bool> {
    if !input.peek(Token![=]) {
        return Ok(true);
    }
    input.parse::<Token![=]>()?;
    let literal: LitBool = input
        .parse()
        .map_err(|e| Error::new(e.span(), "this is a flag: write `= true`, `= false`, or the name alone"))?;
    Ok(literal.value)
}

/// Reads a whole number from 0 to `max`: `= 7`.
pub(crate) fn number(input: ParseStream<'_>, max: u32) -> Result<u32> {
    input.parse::<Token![=]>()?;
    let wrong = |span| Error::new(span, format!("write a whole number from 0 to {max} here"));
    let literal: syn::LitInt = input.parse().map_err(|e| wrong(e.span()))?;
    literal.base10_parse::<u32>().ok().filter(|number| *number <= max).ok_or_else(|| wrong(literal.span()))
}

/// Reads a priority: `= 7`, `= "urgent"`, `= "background"`.
pub(crate) fn priority(input: ParseStream<'_>) -> Result<TokenStream> {
    let ahead = input.fork();
    ahead.parse::<Token![=]>()?;
    let wrong =
        |e: Error| Error::new(e.span(), "write a whole number from 0 to 255, \"urgent\" or \"background\" here");
    if !ahead.peek(LitStr) {
        let number = number(input, 255).map_err(wrong)? as u8;
        return Ok(quote!(::apium::__private::Priority::Number(#number)));
    }
    let word = text(input)?;
    match word.value().as_str() {
        "urgent" => Ok(quote!(::apium::__private::Priority::Urgent)),
        "background" => Ok(quote!(::apium::__private::Priority::Background)),
        _ => Err(wrong(Error::new(word.span(), ""))),
    }
}

/// Reads where a body runs: `= "process"`, `= "none"`.
pub(crate) fn isolation(input: ParseStream<'_>) -> Result<TokenStream> {
    let wrong = |span| Error::new(span, "write \"process\" or \"none\" here");
    let word = text(input).map_err(|e| wrong(e.span()))?;
    match word.value().as_str() {
        "process" => Ok(quote!(::apium::__private::Isolation::Process)),
        "none" => Ok(quote!(::apium::__private::Isolation::None)),
        _ => Err(wrong(word.span())),
    }
}

/// Reads a whole number, or no limit: `= 7`, `= none`.
pub(crate) fn number_or_none(input: ParseStream<'_>) -> Result<Option<u32>> {
    let ahead = input.fork();
    ahead.parse::<Token![=]>()?;
    if let Ok(word) = ahead.parse::<syn::Ident>() {
        if word != "none" {
            return Err(Error::new(word.span(), "write a whole number here, or `none` for no limit"));
        }
        input.parse::<Token![=]>()?;
        input.parse::<syn::Ident>()?;
        return Ok(None);
    }
    let wrong = |e: Error| Error::new(e.span(), "write a whole number here, or `none` for no limit");
    number(input, u32::MAX).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::{NANOS, from_text};

    #[test]
    fn times_are_read_with_their_units() {
        let table = [
            ("60s", 60 * NANOS),
            ("10m", 600 * NANOS),
            ("1h30m", 5400 * NANOS),
            ("1h 30m", 5400 * NANOS),
            ("250ms", NANOS / 4),
            ("1.5s", NANOS + NANOS / 2),
            ("2d", 172_800 * NANOS),
            ("90", 90 * NANOS),
            ("0s", 0),
        ];
        for (text, nanos) in table {
            assert_eq!(from_text(text), Some(nanos), "{text}");
        }
        for bad in ["", " ", "s", "ten", "10x", "10s5", "-5s", "1..5s", "inf"] {
            assert_eq!(from_text(bad), None, "{bad:?}");
        }
    }
}
