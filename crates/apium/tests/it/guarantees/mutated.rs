//! Captures of real Celery, changed at random, are read or refused, and nothing panics: a bounded share of what
//! `cargo xtask fuzz` does for an hour, and the fuzz targets of the folder `fuzz` without end.

use std::path::Path;
use std::time::{Duration, Instant};

use self::checks::mutate::{Random, mutate};

#[path = "../../../../../fuzz/checks/mod.rs"]
mod checks;

/// How many inputs each check gets, where no time is given.
const ROUNDS: u64 = 6_000;
/// No input may keep a check busy for longer.
const LONGEST: Duration = Duration::from_secs(20);

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs a check on every seed, and on seeds that were changed: for so many rounds, or for the time that
/// `APIUM_FUZZ_SECONDS` gives. `APIUM_FUZZ_FROM` is the first round; a round has the same input in each run.
#[expect(clippy::print_stdout, reason = "`cargo xtask fuzz` shows how much was tried")]
fn run(name: &str) {
    let check = checks::all::ALL.iter().find(|(own, _)| *own == name).unwrap().1;
    let seeds = checks::seeds::of(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors"));
    assert!(seeds.len() >= 10, "{}", seeds.len());
    seeds.iter().for_each(|seed| check(seed));
    let (began, time) = (Instant::now(), number("APIUM_FUZZ_SECONDS").map(Duration::from_secs));
    let first = number("APIUM_FUZZ_FROM").unwrap_or(1);
    let (mut round, mut slowest) = (first, Duration::ZERO);
    while time.map_or(round < first + ROUNDS, |time| began.elapsed() < time) {
        let mut random = Random::new(round);
        let mut input = seeds[random.below(seeds.len())].clone();
        mutate(&mut input, &seeds[random.below(seeds.len())], &mut random);
        let before = Instant::now();
        let caught = std::panic::catch_unwind(|| check(&input));
        let shown = || String::from_utf8_lossy(&input).into_owned();
        assert!(caught.is_ok(), "round {round} of {name}, the input {:?}", shown());
        slowest = slowest.max(before.elapsed());
        assert!(slowest < LONGEST, "round {round} of {name} took {slowest:?}, the input {:?}", shown());
        round += 1;
    }
    println!("{name}: {} inputs from {} captures, the slowest took {slowest:?}", round - first, seeds.len());
}

#[test]
fn changed_messages_and_results_are_read_or_refused() {
    run("decode");
}

#[test]
fn changed_envelopes_are_read_or_refused() {
    run("envelope");
}

#[test]
fn changed_addresses_and_settings_are_read_or_refused() {
    run("texts");
}

#[test]
fn changed_control_requests_replies_and_events_are_read_or_refused() {
    run("control");
}
