//! The flows that a test run goes through: a random selection, whose seed is printed, or all.

use std::hash::{BuildHasher, RandomState};

use crate::canvas::case;
use crate::canvas::flow::{Flow, Owners};
use crate::canvas::rows;
use crate::kit::side::Side;

/// The environment variable that lets the tests run all flows, and compare the recorded outcomes with Celery again.
pub(crate) const FULL: &str = "APIUM_INTEROP_FULL";

/// The environment variable with the seed of an earlier run.
pub(crate) const SEED: &str = "APIUM_INTEROP_SEED";

/// The environment variable that records the outcomes with Celery, instead of comparing them.
pub(crate) const WRITE: &str = "APIUM_INTEROP_WRITE";

/// The environment variable that selects the flows whose text contains it: `chain(a,b), a fails`, `sent by Rust`.
pub(crate) const ONLY: &str = "APIUM_INTEROP_ONLY";

/// How many flows are selected.
const SELECTED: usize = 600;

/// Whether an environment variable is set and not empty.
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Every flow: each case with all owners and from both senders.
fn all() -> Vec<Flow> {
    let mut flows = Vec::new();
    for case in case::all().iter().chain(rows::all()) {
        let is_single = case.shape.tasks().len() == 1;
        for owners in Owners::ALL {
            // A single task cannot alternate.
            if is_single && matches!(owners, Owners::RustFirst | Owners::PythonFirst) {
                continue;
            }
            let both = [Side::Rust, Side::Python].map(|sender| Flow { case, owners, sender });
            flows.extend(both.into_iter().filter(|flow| !case.row.is_some_and(|row| row.is_broken(flow))));
        }
    }
    flows
}

/// The flows of this run, and a text that says how to select the same ones again.
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
    flows.truncate(SELECTED);
    (flows, format!("{SELECTED} flows; {SEED}={seed} selects them again"))
}

/// Shuffles a list with splitmix64. A seed always gives the same order.
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
fn a_seed_selects_the_same_flows_and_another_seed_selects_others() {
    let shuffled = |seed| {
        let mut numbers: Vec<u32> = (0..1000).collect();
        shuffle(&mut numbers, seed);
        numbers
    };
    assert_eq!(shuffled(1), shuffled(1));
    assert_ne!(shuffled(1), shuffled(2));
    let mut sorted = shuffled(3);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
}
