//! Which flows a run of the tests goes through: some of them, drawn with a seed that is printed, or all.

use std::hash::{BuildHasher, RandomState};

use crate::canvas::case;
use crate::canvas::flow::{Flow, Owners};
use crate::side::Side;

/// The variable that lets the tests go through all flows, and ask Celery again.
pub(crate) const FULL: &str = "APIUM_INTEROP_FULL";

/// The variable that gives the seed of another run.
pub(crate) const SEED: &str = "APIUM_INTEROP_SEED";

/// The variable that lets what Celery says be written down, where it is compared otherwise.
pub(crate) const WRITE: &str = "APIUM_INTEROP_WRITE";

/// The variable that lets a run go through the flows whose text contains it: `chain(a,b), a fails`, `sent by Rust`.
pub(crate) const ONLY: &str = "APIUM_INTEROP_ONLY";

/// How many flows are drawn.
const DRAWN: usize = 600;

/// Whether a variable is there and says something.
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Every flow: each case with all owners that differ for it, from both senders.
fn all() -> Vec<Flow> {
    let mut flows = Vec::new();
    for case in case::all() {
        let alone = case.shape.tasks().len() == 1;
        for owners in Owners::ALL {
            // One task cannot alternate.
            if alone && matches!(owners, Owners::RustFirst | Owners::PythonFirst) {
                continue;
            }
            flows.extend([Side::Rust, Side::Python].map(|sender| Flow { case, owners, sender }));
        }
    }
    flows
}

/// The flows of this run, and how to have the same again.
pub(crate) fn flows() -> (Vec<Flow>, String) {
    let mut flows = all();
    if let Ok(only) = std::env::var(ONLY) {
        flows.retain(|flow| flow.to_string().contains(&only));
        let count = flows.len();
        return (flows, format!("the {count} flows with {only:?}"));
    }
    if is_set(FULL) {
        let count = flows.len();
        return (flows, format!("all {count} flows"));
    }
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} must be a number, and is {text}")),
        Err(_) => RandomState::new().hash_one("the flows of this run"),
    };
    shuffle(&mut flows, seed);
    flows.truncate(DRAWN);
    (flows, format!("{DRAWN} flows; {SEED}={seed} draws them again"))
}

/// Every order is possible, and a seed always gives the same (splitmix64).
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..list.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        list.swap(last, (number % (last as u64 + 1)) as usize);
    }
}

#[test]
fn a_seed_draws_the_same_again_and_another_one_draws_others() {
    let drawn = |seed| {
        let mut numbers: Vec<u32> = (0..1000).collect();
        shuffle(&mut numbers, seed);
        numbers
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    let mut sorted = drawn(3);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
}
