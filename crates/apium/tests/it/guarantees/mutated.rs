//! Captures of real Celery, changed at random, are read or refused, and nothing panics: a bounded share of what the
//! fuzz targets of the folder `fuzz` do without end.

use std::path::Path;

use self::checks::mutate::{Random, mutate};

#[path = "../../../../../fuzz/checks/mod.rs"]
mod checks;

/// How many inputs each check gets. `APIUM_FUZZ_ROUNDS` asks for more.
const ROUNDS: usize = 6_000;

fn rounds() -> usize {
    std::env::var("APIUM_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Runs a check on every seed, and on seeds that were changed.
fn run(name: &str) {
    let check = checks::all::ALL.iter().find(|(own, _)| *own == name).unwrap().1;
    let seeds = checks::seeds::of(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors"));
    assert!(seeds.len() >= 10, "{}", seeds.len());
    seeds.iter().for_each(|seed| check(seed));
    for round in 0..rounds() {
        let mut random = Random::new(round as u64 + 1);
        let mut input = seeds[random.below(seeds.len())].clone();
        mutate(&mut input, &seeds[random.below(seeds.len())], &mut random);
        let caught = std::panic::catch_unwind(|| check(&input));
        assert!(caught.is_ok(), "round {round} of {name}, the input {:?}", String::from_utf8_lossy(&input));
    }
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
