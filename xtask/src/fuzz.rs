//! `cargo xtask fuzz`: changes captures of real Celery at random for a given time, and runs every check of the folder
//! `fuzz` on them: messages and results, envelopes, addresses and settings. It needs no fuzzer and no nightly compiler;
//! with these, the targets of that folder search deeper.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use crate::commands::Answer;
use crate::{output, process};

/// How long it runs where nothing else is said.
const USUAL: &str = "60m";

/// The test that runs the checks; they share the time, one thread each.
const TEST: [&str; 9] =
    ["test", "--package", "apium", "--test", "it", "guarantees::mutated", "--", "--nocapture", "--test-threads=3"];

/// Runs the checks for the time that is named first, from the round that is named second.
pub(crate) fn run(args: &[String]) -> Answer {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (time, from) = match args.as_slice() {
        [] => (USUAL, None),
        [time] => (*time, None),
        [time, from] => (*time, Some(*from)),
        _ => return Err("read the arguments: use `fuzz [TIME] [FIRST ROUND]`".to_owned()),
    };
    let time = read_time(time).ok_or_else(|| format!("read the time {time:?}: use one like 90s, 60m or 2h"))?;
    // Other inputs in each run. A failure names its round, from which the next run can begin.
    let from = match from {
        Some(from) => from.parse::<u64>().map_err(|error| format!("read the first round {from:?}: {error}"))?,
        None => RandomState::new().build_hasher().finish() >> 8,
    };
    output::step(&format!("fuzz for {} s from round {from}", time.as_secs()));
    let mut command = process::cargo(&TEST)?;
    command.env("APIUM_FUZZ_SECONDS", time.as_secs().to_string()).env("APIUM_FUZZ_FROM", from.to_string());
    process::passes(command)
}

fn read_time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok().filter(|number| *number > 0).map(|number| Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [("90s", Some(90)), ("60m", Some(3600)), ("2h", Some(7200))] {
            assert_eq!(read_time(text).map(|time| time.as_secs()), seconds);
        }
        for text in ["", "m", "60", "0m", "-1s", "1d", "6é"] {
            assert_eq!(read_time(text), None, "{text}");
        }
        assert!(run(&["soon".to_owned()]).is_err() && run(&["1s".to_owned(), "x".to_owned()]).is_err());
    }
}
