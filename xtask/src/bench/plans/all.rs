//! The list of plans.

use crate::bench::goal::{at_least, below, none, shown};
use crate::bench::plan::{Page, Plan};
use crate::bench::plans::amqp::AMQP;
use crate::bench::plans::canvas::CANVAS;
use crate::bench::plans::processes::PROCESSES;
use crate::bench::plans::redis::REDIS;
use crate::bench::scaling::SCALING;

const EMBEDDED: Plan = Plan {
    name: "embedded",
    binary: "bench_embedded",
    peers: false,
    measures: &[
        "enqueue-batches",
        "enqueue-callers",
        "drain",
        "drain-results",
        "live",
        "live-results",
        "round-trip",
        "round-trip-processes",
        "idle",
        "first-task",
        "etas",
    ],
    runs: 5,
    page: "docs/BENCH-EMBEDDED.md",
    about: "The embedded driver on a file on disk. Every commit is flushed before it is answered (`synchronous=full`). The \
            task does nothing, has the arguments `(i, \"x\" * 64)` and late acknowledgement. A worker has 128 slots, and all \
            else at its default. The live producer sends one message a call, from 64 callers. Producer \
            and worker share the machine. Each task counts its executions by number, so lost and repeated ones are found.",
    content: Page::Goals(&[
        at_least("enqueue_batches", "enqueue, batches of 1,000", 80_000.0, "/s"),
        at_least("enqueue_callers", "enqueue, one by one from 64 callers", 45_000.0, "/s"),
        at_least("drain", "drain a filled queue", 45_000.0, "/s"),
        at_least("drain_results", "the same, results stored", 30_000.0, "/s"),
        shown("drain_default", "drain a filled queue, default settings", "/s"),
        at_least("drain_default_to_best", "… to the best setting", 70.0, "%"),
        shown("drain_results_default", "the same, results stored", "/s"),
        at_least("drain_results_default_to_best", "… to the best setting", 70.0, "%"),
        at_least("live", "drain beside a live producer process", 22_000.0, "/s"),
        at_least("live_results", "the same, results stored", 18_000.0, "/s"),
        none("lost", "tasks published and not run, in all drains", "tasks"),
        none("repeated", "tasks run twice, in all drains", "tasks"),
        below("round_trip", "`delay` to `get`, one process, p50", 1.5, "ms"),
        below("round_trip_processes", "`delay` to `get`, two processes, p50", 3.0, "ms"),
        below("idle_pss", "idle worker, memory (PSS)", 12.0, "MB"),
        shown("idle_written", "… without the pages of the program, which has every driver", "MB"),
        below("idle_cpu", "idle worker, processor", 0.5, "%"),
        below("first_task", "first task done after exec", 50.0, "ms"),
        below("etas", "growth of a worker by 1,000,000 pending etas", 50.0, "MB"),
    ]),
};

const SEAM: Plan = Plan {
    name: "seam",
    binary: "bench_seam",
    peers: false,
    measures: &["all"],
    runs: 5,
    page: "docs/BENCH-SEAM.md",
    about: "Publish, next and ack on the memory driver in batches of 64: with the driver's methods called directly, and with \
            the same methods called through `dyn Broker`, `dyn Consumer` and `dyn Acker`, which box the future of each batch.",
    content: Page::Goals(&[
        shown("direct", "called directly", "ns/message"),
        shown("dyn", "through `dyn`", "ns/message"),
        below("difference", "the difference", 1_000.0, "ns/message"),
    ]),
};

/// All plans.
pub(crate) const PLANS: &[&Plan] = &[&EMBEDDED, &SEAM, &REDIS, &AMQP, &PROCESSES, &CANVAS, &SCALING];
