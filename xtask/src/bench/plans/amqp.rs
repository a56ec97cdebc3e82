//! The plan of the RabbitMQ driver: Apium, Celery and a bare client on one node.

use crate::bench::goal::{Goal, at_least, at_most, none, shown};
use crate::bench::plan::{Page, Plan};

pub(crate) const AMQP: Plan = Plan {
    name: "amqp",
    binary: "bench_amqp",
    peers: true,
    measures: &["publish", "drain", "drain-quorum", "round-trip"],
    runs: 5,
    page: "docs/BENCH-AMQP.md",
    about: "The RabbitMQ driver beside Celery 5.7 and beside a bare client on the same library (`lapin`), in one run on one \
            private node with its default configuration, on the machine of producer and worker. Messages are persistent \
            and queues are durable, as with Celery. The task does nothing and has the arguments `(i, \"x\" * 64)`. Apium \
            and Celery both have late acknowledgement (`task_acks_late`) and store no results. Each drains a queue that \
            Apium filled: Apium's worker 60,000 messages, Celery's 5,000. Celery's pools are prefork with a process for \
            each core, 10 threads, and solo. All else is at its default, but for what the row names (`-c` is the \
            concurrency, with Celery's prefetch of 4). The bare client settles many messages with one ack, parses the body, \
            and does nothing else: it neither counts crashes nor recognises a message that comes again. Its limit is the \
            best of three sizes of its acks, 64, 256 and 512. Whoever publishes waits for the confirms of the server; \
            Celery does so with `confirm_publish`. The bare client publishes 1,000 messages and waits for their confirms \
            then, as a batch of Apium does. Each task counts its executions by number, so lost and repeated ones are found. \
            Ratios are taken within a run. A round trip goes by `rpc://`.",
    content: Page::Goals(GOALS),
};

const GOALS: &[Goal] = &[
    shown("drain_64", "drain a filled queue, `-c 64`", "/s"),
    at_least("drain_64_to_prefork", "… to Celery prefork", 6.0, "×"),
    at_least("drain_64_to_bare", "… to the bare limit", 70.0, "%"),
    shown("drain_8", "drain a filled queue, `-c 8`", "/s"),
    shown("drain_8_to_prefork", "… to Celery prefork", "×"),
    shown("drain_8_to_bare", "… to the bare limit", "%"),
    shown("drain_default", "drain a filled queue, default settings", "/s"),
    shown("drain_default_to_prefork", "… to Celery prefork", "×"),
    shown("drain_default_to_bare", "… to the bare limit", "%"),
    at_least("drain_default_to_best", "… to the best setting", 70.0, "%"),
    shown("drain_celery_prefork", "Celery prefork", "/s"),
    shown("drain_celery_threads", "Celery threads", "/s"),
    shown("drain_celery_solo", "Celery solo", "/s"),
    shown("drain_bare", "bare limit", "/s"),
    shown("drain_64_worker_cpu", "processor time of the worker for one task, `-c 64`", "µs"),
    shown("drain_64_server_cpu", "processor time of the node for one task, `-c 64`", "µs"),
    shown("drain_bare_64_of_256_server_cpu", "the same, for one message of the bare client", "µs"),
    shown("quorum_64", "drain a filled quorum queue, `-c 64`", "/s"),
    shown("quorum_64_to_bare", "… to the bare limit", "%"),
    shown("quorum_bare", "bare limit, quorum queue", "/s"),
    none("lost", "tasks that were not run, in all drains", "tasks"),
    none("repeated", "tasks run twice, in all drains", "tasks"),
    none("unsettled", "messages not settled, after all drains", "messages"),
    shown("publish_batches", "publish with confirms, batches of 1,000", "/s"),
    at_least("publish_batches_to_bare", "… to the bare limit", 80.0, "%"),
    at_least("publish_batches_to_celery", "… to Celery's `apply_async` with confirms", 10.0, "×"),
    shown("publish_batches_bare", "publish with confirms, bare limit", "/s"),
    shown("publish_callers", "publish with confirms, one by one from 64 callers", "/s"),
    shown("publish_callers_to_bare", "… to the bare limit", "%"),
    shown("publish_callers_to_celery", "… to Celery's `apply_async` with confirms", "×"),
    shown("publish", "publish with confirms, one awaited at a time", "/s"),
    shown("publish_to_bare", "… to a bare loop", "%"),
    shown("publish_celery_confirmed", "Celery's `apply_async`, with confirms", "/s"),
    shown("publish_celery", "Celery's `apply_async`, without confirms", "/s"),
    none("unsent", "calls that are not in the queue", "tasks"),
    shown("round_trip", "`delay` to `get` by `rpc://`, idle worker, p50", "ms"),
    shown("round_trip_p99", "`delay` to `get` by `rpc://`, idle worker, p99", "ms"),
    shown("round_trip_celery", "the same, Celery prefork, p50", "ms"),
    shown("round_trip_celery_p99", "the same, Celery prefork, p99", "ms"),
    at_most("round_trip_to_celery", "p50 to Celery's", 50.0, "%"),
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
