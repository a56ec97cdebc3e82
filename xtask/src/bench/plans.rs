//! The plans that there are.

use crate::bench::canvas::CANVAS;
use crate::bench::goal::Bound;
use crate::bench::plan::{Plan, goal};
use crate::bench::redis::REDIS;

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
    about: "The embedded driver on a file on disk, every commit flushed before it is answered (`synchronous=full`); a task that \
            does nothing, with the arguments `(i, \"x\" * 64)`; late ack. Where a worker drains it has 128 slots and holds four \
            times as many messages; the live producer calls one by one from 64 callers. Producer and worker share the \
            machine. Executions are counted by the task itself, by number, so that a lost or repeated one shows.",
    goals: &[
        goal("enqueue_batches", "enqueue, batches of 1,000", Some(Bound::AtLeast(80_000.0)), "/s"),
        goal("enqueue_callers", "enqueue, one by one from 64 callers", Some(Bound::AtLeast(45_000.0)), "/s"),
        goal("drain", "drain a filled queue", Some(Bound::AtLeast(45_000.0)), "/s"),
        goal("drain_results", "the same, results stored", Some(Bound::AtLeast(30_000.0)), "/s"),
        goal("live", "drain beside a live producer process", Some(Bound::AtLeast(22_000.0)), "/s"),
        goal("live_results", "the same, results stored", Some(Bound::AtLeast(18_000.0)), "/s"),
        goal("lost", "tasks published and not run, in all drains", Some(Bound::Always(0.0)), "tasks"),
        goal("repeated", "tasks run twice, in all drains", Some(Bound::Always(0.0)), "tasks"),
        goal("round_trip", "`delay` to `get`, one process, p50", Some(Bound::Below(1.5)), "ms"),
        goal("round_trip_processes", "`delay` to `get`, two processes, p50", Some(Bound::Below(3.0)), "ms"),
        goal("idle_pss", "idle worker, memory of its own (PSS)", Some(Bound::Below(12.0)), "MB"),
        goal("idle_cpu", "idle worker, processor", Some(Bound::Below(0.5)), "%"),
        goal("first_task", "first task done after exec", Some(Bound::Below(50.0)), "ms"),
        goal("etas", "growth of a worker by 1,000,000 pending etas", Some(Bound::Below(50.0)), "MB"),
    ],
};

const SEAM: Plan = Plan {
    name: "seam",
    binary: "bench_seam",
    peers: false,
    measures: &["all"],
    runs: 5,
    page: "docs/BENCH-SEAM.md",
    about: "Publish, next and ack on the memory driver in batches of 64: the driver's methods called directly, and the same methods \
            through `dyn Broker`, `dyn Consumer` and `dyn Acker`, which box the future of each batch.",
    goals: &[
        goal("direct", "called directly", None, "ns/message"),
        goal("dyn", "through `dyn`", None, "ns/message"),
        goal("difference", "what the seam costs", Some(Bound::Below(1_000.0)), "ns/message"),
    ],
};

/// Every plan.
pub(crate) const PLANS: &[&Plan] = &[&EMBEDDED, &SEAM, &REDIS, &CANVAS];
