//! All cases: the crash points at which workers die, and which chord passes each.

use apium_redis::crash_points as redis;
use apium_sqlite::crash_points as sqlite;

use crate::canvas::case::{Case, Moment};
use crate::canvas::crew::Crash;
use crate::canvas::fresh_stores::Driver;
use crate::canvas::shape::{INNER_CHORDS, Shape};
use crate::faults::kit::tasks::AROUND;

/// Crash points of the Redis driver that a chord does not pass: they belong to maintenance and to shutdown.
const NOT_PASSED: [&str; 9] = [
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

/// Crash points that a chord passes only when queue and results are two stores.
const TWO_STORES: [&str; 4] = ["before-part", "after-part", "before-end", "after-end"];

/// Every case of a driver, for chords of `parts` parts.
pub fn cases(driver: Driver, parts: u64) -> Vec<Case> {
    let mut cases = match driver {
        Driver::Redis => of_redis(parts),
        Driver::Sqlite => of_sqlite(parts),
        Driver::SqliteTwoFiles => of_two_files(parts),
    };
    for shape in [Shape::Flat, Shape::Nested] {
        cases.push(Case { driver, moment: Moment::Random, shape, crash: None });
    }
    cases
}

/// An early visit, so that most of the chord is still to run.
fn early(parts: u64) -> u32 {
    fastrand::u32(1..=u32::try_from(parts / 50).unwrap_or(1).max(1))
}

fn any(count: u64) -> u32 {
    fastrand::u32(1..=u32::try_from(count).unwrap_or(u32::MAX))
}

fn middle(driver: Driver, point: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::Flat, crash: Some(Crash { point, times }) }
}

fn last(driver: Driver, point: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Last, shape: Shape::SeparateLast, crash: Some(Crash { point, times }) }
}

/// The last part is acked before its run.
fn early_last(driver: Driver, point: &'static str, times: u32) -> Case {
    Case { shape: Shape::EarlyAckedLast, ..last(driver, point, times) }
}

fn opened(driver: Driver, point: &'static str) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::OpenedByWorker, crash: Some(Crash { point, times: 1 }) }
}

fn nested(driver: Driver, point: &'static str, times: u32) -> Case {
    Case { driver, moment: Moment::Middle, shape: Shape::Nested, crash: Some(Crash { point, times }) }
}

fn of_redis(parts: u64) -> Vec<Case> {
    let on = Driver::Redis;
    let mut cases = Vec::new();
    for point in redis::POINTS.iter().copied().filter(|point| !NOT_PASSED.contains(point)) {
        match point {
            // The worker waits once, before the first message comes.
            "before-wait" => cases.extend([middle(on, point, 1), last(on, point, 1)]),
            // Only a worker that waits before the first message passes this.
            "after-wait" => cases.push(middle(on, point, 1)),
            // Most parts are claimed by the settlements of others.
            "before-claim" | "after-claim" => cases.extend([middle(on, point, 1), last(on, point, 1)]),
            // A part that finds a free slot is marked when it is claimed, and nothing comes after the last one.
            "before-mark-started"
            | "after-mark-started"
            | "before-next-claim"
            | "settled-claimed"
            | "next-claim-added" => {
                cases.push(middle(on, point, any(3)));
            }
            _ => cases.extend([middle(on, point, early(parts)), last(on, point, 1)]),
        }
    }
    cases.extend(AROUND.iter().flat_map(|point| [middle(on, point, any(parts)), last(on, point, 1)]));
    for point in redis::CHORD_POINTS.iter().copied() {
        match point {
            "chord-opened" => cases.push(opened(on, point)),
            // The last part of each chord passes the others: of an inner chord, and of the outer one.
            _ => cases.extend([last(on, point, 1), early_last(on, point, 1), nested(on, point, any(INNER_CHORDS / 2))]),
        }
    }
    cases
}

fn of_sqlite(parts: u64) -> Vec<Case> {
    let on = Driver::Sqlite;
    let mut cases = Vec::new();
    for point in sqlite::POINTS.iter().copied().filter(|point| !TWO_STORES.contains(point)) {
        match point {
            "part-counted" => cases.extend([
                middle(on, point, any(parts - 1)),
                last(on, point, 1),
                nested(on, point, any(parts + INNER_CHORDS)),
            ]),
            "rest-written" => cases.extend([last(on, point, 1), nested(on, point, any(INNER_CHORDS / 2))]),
            "delivery-settled" => cases.extend([middle(on, point, any(parts - 1)), last(on, point, 1)]),
            "before-settle" | "after-settle" => {
                cases.extend([middle(on, point, early(parts)), last(on, point, 1), opened(on, point)]);
            }
            // A claim is not flushed.
            "after-flush" => cases.extend([middle(on, point, early(parts)), last(on, point, 1)]),
            // Every commit passes these: at the start of a worker, at a claim, and as the sixth for one part, at its
            // end.
            _ => cases.extend([
                middle(on, point, early(parts) + 2),
                last(on, point, 4 + any(3)),
                nested(on, point, early(parts) + 2),
            ]),
        }
    }
    cases.extend(AROUND.iter().flat_map(|point| [middle(on, point, any(parts)), last(on, point, 1)]));
    cases
}

fn of_two_files(parts: u64) -> Vec<Case> {
    let on = Driver::SqliteTwoFiles;
    let mut cases = Vec::new();
    for point in TWO_STORES {
        match point {
            "before-part" | "after-part" => {
                cases.extend([middle(on, point, any(parts - 1)), last(on, point, 1)]);
            }
            _ => cases.extend([last(on, point, 1), early_last(on, point, 1)]),
        }
    }
    // The first visit asks whether this part may be the last one; the second counts it.
    cases.push(early_last(on, "after-part", 2));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crash_point_that_a_chord_passes_has_a_case() {
        let named = |driver| -> Vec<&str> {
            cases(driver, 1_000).iter().filter_map(|case| case.crash.map(|crash| crash.point)).collect()
        };
        let (redis_cases, mut sqlite_cases) = (named(Driver::Redis), named(Driver::Sqlite));
        sqlite_cases.extend(named(Driver::SqliteTwoFiles));
        for point in redis::POINTS.iter().chain(redis::CHORD_POINTS).chain(AROUND) {
            assert!(NOT_PASSED.contains(point) != redis_cases.contains(point), "{point}");
        }
        for point in sqlite::POINTS.iter().chain(AROUND) {
            assert!(sqlite_cases.contains(point), "{point}");
        }
    }
}
