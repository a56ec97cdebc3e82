//! A part of Celery's own tests, with a worker of Apium alone, and beside Celery's on one queue. `cargo xtask
//! celery-suite --full` runs all of them.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::Path;

use apium_celery_suite::exceptions::Exceptions;
use apium_celery_suite::install::Suite;
use apium_celery_suite::outcomes::Ending;
use apium_celery_suite::run::{Selection, Workers, run};

fn passes(workers: Workers) {
    let (suite, exceptions) = (Suite::ensure().unwrap(), Exceptions::read().unwrap());
    let worker = Path::new(env!("CARGO_BIN_EXE_celery_suite_worker"));
    let outcomes = run(&suite, worker, workers, &Selection::part(), &mut |_| {}).unwrap();
    let wrong =
        outcomes.0.iter().filter(|(test, end)| end.ending == Ending::Failed && exceptions.of(test, workers).is_none());
    let wrong: Vec<String> = wrong.map(|(test, end)| format!("{test}:\n{}", end.why)).collect();
    assert!(
        wrong.is_empty(),
        "{}: {} of {} fail:\n{}",
        workers.title(),
        wrong.len(),
        outcomes.0.len(),
        wrong.join("\n")
    );
    let passed = outcomes.0.values().filter(|end| end.ending == Ending::Passed).count();
    assert!(passed >= 40, "only {passed} tests were run");
}

#[test]
fn a_part_of_celerys_own_tests_passes_with_a_worker_of_apium() {
    passes(Workers::Rust);
}

#[test]
fn a_part_of_celerys_own_tests_passes_with_workers_of_both_on_one_queue() {
    passes(Workers::Both);
}

#[test]
fn a_part_of_celerys_own_tests_passes_with_their_tasks_in_children_of_apium() {
    passes(Workers::Python);
}
