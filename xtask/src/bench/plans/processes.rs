//! The plan of child processes: Apium's, with tasks in Rust and in Python, and Celery's prefork.

use crate::bench::goal::{Goal, at_least, below, none, shown};
use crate::bench::plan::{Page, Plan};

pub(crate) const PROCESSES: Plan = Plan {
    name: "processes",
    binary: "bench_processes",
    peers: true,
    measures: &["all"],
    runs: 3,
    page: "docs/BENCH-PROCESSES.md",
    about: "Workers whose tasks run in child processes, beside Celery 5.7's prefork, in one run on one private Redis, on the \
            machine of the server. The task does nothing and has the arguments `(i, \"x\" * 64)`; in Python it is the same \
            task of the same Celery app for both workers. Both have late acknowledgement. `-c` is the number of children. \
            Results are ignored, or stored in Redis. Each drains a queue that Apium filled: Apium's worker 100,000 messages \
            in Rust and 40,000 in Python, Celery's 5,000. A child runs one task at a time. The cost of a child is that of a \
            worker whose children are replaced after each task. Each task counts its executions by number, so lost and \
            repeated ones are found. Ratios are taken within a run.",
    content: Page::Goals(GOALS),
};

const GOALS: &[Goal] = &[
    shown("ignored_celery_2", "Celery prefork, results ignored, `-c 2`", "/s"),
    shown("ignored_rust_2", "Apium, tasks in Rust", "/s"),
    at_least("ignored_rust_2_to_celery", "… to Celery prefork", 10.0, "×"),
    shown("ignored_python_2", "Apium, tasks in Python", "/s"),
    at_least("ignored_python_2_to_celery", "… to Celery prefork", 8.0, "×"),
    shown("ignored_celery_8", "Celery prefork, results ignored, `-c 8`", "/s"),
    shown("ignored_rust_8", "Apium, tasks in Rust", "/s"),
    at_least("ignored_rust_8_to_celery", "… to Celery prefork", 10.0, "×"),
    shown("ignored_python_8", "Apium, tasks in Python", "/s"),
    at_least("ignored_python_8_to_celery", "… to Celery prefork", 8.0, "×"),
    shown("results_celery_2", "Celery prefork, results stored, `-c 2`", "/s"),
    shown("results_rust_2", "Apium, tasks in Rust", "/s"),
    at_least("results_rust_2_to_celery", "… to Celery prefork", 10.0, "×"),
    shown("results_python_2", "Apium, tasks in Python", "/s"),
    at_least("results_python_2_to_celery", "… to Celery prefork", 5.0, "×"),
    shown("results_celery_8", "Celery prefork, results stored, `-c 8`", "/s"),
    shown("results_rust_8", "Apium, tasks in Rust", "/s"),
    at_least("results_rust_8_to_celery", "… to Celery prefork", 10.0, "×"),
    shown("results_python_8", "Apium, tasks in Python", "/s"),
    at_least("results_python_8_to_celery", "… to Celery prefork", 5.0, "×"),
    none("lost", "tasks that were not run, in all drains", "tasks"),
    none("repeated", "tasks run twice, in all drains", "tasks"),
    none("unsettled", "messages not settled, after all drains", "messages"),
    none("unanswered", "results that are not there", "tasks"),
    below("supervisor_rust", "memory of the worker after a drain (PSS), tasks in Rust", 15.0, "MB"),
    below("supervisor_python", "the same, tasks in Python", 15.0, "MB"),
    shown("child_rust", "memory of a child in Rust (PSS)", "MB"),
    shown("child_python", "memory of a child in Python (PSS)", "MB"),
    shown("spawn_rust", "a child in Rust for each task", "ms"),
    shown("spawn_python", "a child in Python for each task", "ms"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_figure_has_one_row() {
        let names: BTreeSet<&str> = GOALS.iter().map(|goal| goal.name).collect();
        assert_eq!(names.len(), GOALS.len());
    }
}
