//! The plan of the canvas: workflows of Apium and Celery on one server, and the bytes that they send.

use crate::bench::goal::{Goal, at_least, below, none, shown};
use crate::bench::plan::{Page, Plan};

pub(crate) const CANVAS: Plan = Plan {
    name: "canvas",
    binary: "bench_canvas",
    peers: true,
    measures: &["workflows", "published", "bytes"],
    runs: 5,
    page: "docs/BENCH-CANVAS.md",
    about: "Workflows on Redis, from the call until the caller has the result, by Apium and by Celery 5.7. Both run on one \
            private server without persistence, on the machine of caller and worker. The workflows are a group of 1,000 \
            tasks that return a number, a chord of the same tasks whose body adds up, and a chain of 100. There is one \
            worker on each side with the same concurrency (`-c`: processes of Celery's prefork pool, slots of Apium's), late \
            acknowledgement (`task_acks_late`), and defaults otherwise. Within a run each figure is the median of 11 \
            workflows of Apium and of 3 of Celery. Ratios are taken within a run, and every result is checked. For BullMQ 5 \
            there are only figures of another machine: 430 ms for a flow of 1,000 with one parent, 110 ms for a chain of \
            100, at a concurrency of 100. Bytes are what the server received from the caller until all of the workflow was \
            published, divided by the number of tasks, the body included.",
    content: Page::Goals(GOALS),
};

const GOALS: &[Goal] = &[
    shown("group_2", "group of 1,000, `-c 2`", "ms"),
    shown("group_2_celery", "the same, Celery", "ms"),
    at_least("group_2_to_celery", "… Celery to Apium", 20.0, "×"),
    below("group_8", "group of 1,000, `-c 8`", 50.0, "ms"),
    shown("group_8_celery", "the same, Celery", "ms"),
    at_least("group_8_to_celery", "… Celery to Apium", 20.0, "×"),
    below("chord_2", "chord of 1,000, `-c 2` (ahead of BullMQ)", 430.0, "ms"),
    shown("chord_2_celery", "the same, Celery", "ms"),
    at_least("chord_2_to_celery", "… Celery to Apium", 20.0, "×"),
    below("chord_8", "chord of 1,000, `-c 8`", 60.0, "ms"),
    shown("chord_8_celery", "the same, Celery", "ms"),
    at_least("chord_8_to_celery", "… Celery to Apium", 20.0, "×"),
    below("chain_2", "chain of 100, `-c 2` (ahead of BullMQ)", 110.0, "ms"),
    shown("chain_2_celery", "the same, Celery", "ms"),
    at_least("chain_2_to_celery", "… Celery to Apium", 8.0, "×"),
    below("chain_8", "chain of 100, `-c 8` (ahead of BullMQ)", 110.0, "ms"),
    shown("chain_8_celery", "the same, Celery", "ms"),
    at_least("chain_8_to_celery", "… Celery to Apium", 8.0, "×"),
    none("unsettled", "messages not settled after all of them", "messages"),
    below("published_group", "group of 100,000 in the queue", 2.0, "s"),
    below("published_chord", "chord of 100,000 in the queue", 2.0, "s"),
    none("unsent", "tasks of both that are not in the queue", "tasks"),
    shown("bytes_group_10", "bytes for each task, group of 10", "bytes"),
    shown("bytes_group_100", "bytes for each task, group of 100", "bytes"),
    shown("bytes_group_1000", "bytes for each task, group of 1,000", "bytes"),
    shown("bytes_group_10000", "bytes for each task, group of 10,000", "bytes"),
    below("bytes_group_growth", "… of 10,000 to those of 10", 105.0, "%"),
    shown("bytes_chord_10", "bytes for each task, chord of 10", "bytes"),
    shown("bytes_chord_100", "bytes for each task, chord of 100", "bytes"),
    shown("bytes_chord_1000", "bytes for each task, chord of 1,000", "bytes"),
    shown("bytes_chord_10000", "bytes for each task, chord of 10,000", "bytes"),
    below("bytes_chord_growth", "… of 10,000 to those of 10", 105.0, "%"),
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
