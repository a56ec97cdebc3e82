//! The places at which workers die, and how a chord is made to come to each.

use apium_redis::crash_points as redis;
use apium_sqlite::crash_points as sqlite;

use crate::canvas::case::{Case, Moment};
use crate::canvas::crew::Fate;
use crate::canvas::ground::Driver;
use crate::canvas::shape::{INNER_CHORDS, Shape};
use crate::faults::tasks::AROUND;

/// Places of the Redis driver that a message does not pass on its way: they belong to what goes on beside it.
const BESIDE: [&str; 9] = [
    "before-return-handoffs",
    "after-return-handoffs",
    "after-promote",
    "after-heartbeat",
    "reclaim-closed",
    "reclaim-batch",
    "reclaim-done",
    "close-stopped",
    "close-requeued",
];

/// What is counted of a chord where queue and results are two stores.
const APART: [&str; 4] = ["before-part", "after-part", "before-end", "after-end"];

/// Every case of a driver, for chords of so many parts.
pub fn cases(driver: Driver, parts: u64) -> Vec<Case> {
    let mut cases = match driver {
        Driver::Redis => of_redis(parts),
        Driver::Sqlite => of_sqlite(parts),
        Driver::SqliteApart => of_two_files(parts),
    };
    for shape in [Shape::Flat, Shape::Nested] {
        cases.push(Case { driver, moment: Moment::Random, shape, fate: None });
    }
    cases
}

/// One of the first times of many, so that most of the chord is still to come.
fn early(parts: u64) -> u32 {
    fastrand::u32(1..=u32::try_from(parts / 50).unwrap_or(1).max(1))
}

fn any(count: u64) -> u32 {
    fastrand::u32(1..=u32::try_from(count).unwrap_or(u32::MAX))
}

fn middle(driver: Driver, place: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::Flat, fate: Some(Fate { place, times }) }
}

fn last(driver: Driver, place: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Last, shape: Shape::KeptLast, fate: Some(Fate { place, times }) }
}

/// The last part is acked before its run.
fn early_last(driver: Driver, place: &'static str, times: u32) -> Case {
    Case { shape: Shape::EarlyLast, ..last(driver, place, times) }
}

fn opened(driver: Driver, place: &'static str) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::Opened, fate: Some(Fate { place, times: 1 }) }
}

fn nested(driver: Driver, place: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::Nested, fate: Some(Fate { place, times }) }
}

fn of_redis(parts: u64) -> Vec<Case> {
    let on = Driver::Redis;
    let mut cases = Vec::new();
    for place in redis::POINTS.iter().copied().filter(|place| !BESIDE.contains(place)) {
        match place {
            // A queue has four lists, each of which is waited for once before there is anything.
            "before-wait" => cases.extend([middle(on, place, 5), last(on, place, any(4))]),
            // Only who waits before there is anything comes there.
            "after-wait" => cases.push(middle(on, place, 1)),
            _ => cases.extend([middle(on, place, early(parts)), last(on, place, 1)]),
        }
    }
    cases.extend(AROUND.iter().flat_map(|place| [middle(on, place, any(parts)), last(on, place, 1)]));
    for place in redis::CHORD_POINTS.iter().copied() {
        match place {
            "chord-opened" => cases.push(opened(on, place)),
            // The others are passed by the last part of a chord: one of the inner ones, or the outer.
            _ => cases.extend([last(on, place, 1), early_last(on, place, 1), nested(on, place, any(INNER_CHORDS / 2))]),
        }
    }
    cases
}

fn of_sqlite(parts: u64) -> Vec<Case> {
    let on = Driver::Sqlite;
    let mut cases = Vec::new();
    for place in sqlite::POINTS.iter().copied().filter(|place| !APART.contains(place)) {
        match place {
            "part-counted" => cases.extend([
                middle(on, place, any(parts - 1)),
                last(on, place, 1),
                nested(on, place, any(parts + INNER_CHORDS)),
            ]),
            "rest-written" => cases.extend([last(on, place, 1), nested(on, place, any(INNER_CHORDS / 2))]),
            "delivery-settled" => cases.extend([middle(on, place, any(parts - 1)), last(on, place, 1)]),
            "before-settle" | "after-settle" => {
                cases.extend([middle(on, place, early(parts)), last(on, place, 1), opened(on, place)]);
            }
            // A claim needs no flush.
            "after-flush" => cases.extend([middle(on, place, early(parts)), last(on, place, 1)]),
            // Every commit passes these: those of a worker's start, of a claim, and, as the sixth of one part, of its end.
            _ => cases.extend([
                middle(on, place, early(parts) + 2),
                last(on, place, 4 + any(3)),
                nested(on, place, early(parts) + 2),
            ]),
        }
    }
    cases.extend(AROUND.iter().flat_map(|place| [middle(on, place, any(parts)), last(on, place, 1)]));
    cases
}

fn of_two_files(parts: u64) -> Vec<Case> {
    let on = Driver::SqliteApart;
    let mut cases = Vec::new();
    for place in APART {
        match place {
            "before-part" | "after-part" => {
                cases.extend([middle(on, place, any(parts - 1)), last(on, place, 1)]);
            }
            _ => cases.extend([last(on, place, 1), early_last(on, place, 1)]),
        }
    }
    // It asks first whether it may be the last one, and is then counted.
    cases.push(early_last(on, "after-part", 2));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_on_the_way_of_a_chord_has_a_case() {
        let named = |driver| -> Vec<&str> {
            cases(driver, 1_000).iter().filter_map(|case| case.fate.map(|fate| fate.place)).collect()
        };
        let (redis_cases, mut sqlite_cases) = (named(Driver::Redis), named(Driver::Sqlite));
        sqlite_cases.extend(named(Driver::SqliteApart));
        for place in redis::POINTS.iter().chain(redis::CHORD_POINTS).chain(AROUND) {
            assert!(BESIDE.contains(place) != redis_cases.contains(place), "{place}");
        }
        for place in sqlite::POINTS.iter().chain(AROUND) {
            assert!(sqlite_cases.contains(place), "{place}");
        }
    }
}
