//! The plan of the Redis driver: Apium, Celery and a bare client on one server.

use crate::bench::goal::{Goal, at_least, at_most, below, none, shown};
use crate::bench::plan::{Page, Plan};

pub(crate) const REDIS: Plan = Plan {
    name: "redis",
    binary: "bench_redis",
    peers: true,
    measures: &["enqueue", "drain", "drain-results", "round-trip", "idle", "far", "queues", "events", "control"],
    runs: 5,
    page: "docs/BENCH-REDIS.md",
    about: "The Redis driver beside Celery 5.7 and beside a bare client, in one run on one private server without persistence, on \
            the machine of producer and worker. The task does nothing and has the arguments `(i, \"x\" * 64)`. Apium and Celery \
            both have late acknowledgement (`task_acks_late`), and results as the row says (`task_ignore_result`). All \
            drain the same messages, which Apium made: Apium's worker 200,000, Celery's 5,000. Celery's pools are prefork \
            with a process for each core, 10 threads, and solo. All else is at its default, in Apium's worker too, but for \
            what the row names (`-c` is its concurrency, with Celery's prefetch of 4 unless it says `auto`). The bare client \
            runs the Redis operations of a worker in pipelines, parses envelope and body and does nothing else. The bare limit is the best of its shapes in \
            the same run: RPOP of 256 and then one write, which loses messages when it is killed; or a script that claims 64 \
            or 256 in one step, on two connections. Only the script is as safe as a worker. Each task counts its executions by \
            number, so lost and repeated ones are found. Ratios are taken within a run. Commands inside scripts are counted, as \
            Redis counts them. What events cost is measured while nobody listens, by draining with them and without in \
            turns; and so is what 1,000 remote commands a second cost, beside as many that nobody listens to.",
    content: Page::Goals(GOALS),
};

const GOALS: &[Goal] = &[
    // Draining without results.
    shown("drain_64", "drain a filled queue, `-c 64`", "/s"),
    at_least("drain_64_to_prefork", "… to Celery prefork", 80.0, "×"),
    at_least("drain_64_to_bare", "… to the bare limit", 75.0, "%"),
    shown("drain_64_to_bare_safe", "… to the best bare shape that is safe", "%"),
    shown("drain_8", "drain a filled queue, `-c 8`", "/s"),
    at_least("drain_8_to_prefork", "… to Celery prefork", 50.0, "×"),
    shown("drain_8_to_bare", "… to the bare limit", "%"),
    shown("drain_64_auto", "drain a filled queue, `-c 64`, `auto`", "/s"),
    shown("drain_8_auto", "drain a filled queue, `-c 8`, `auto`", "/s"),
    shown("drain_default", "drain a filled queue, default settings", "/s"),
    at_least("drain_default_to_best", "… to the best setting", 70.0, "%"),
    shown("drain_celery_prefork", "Celery prefork", "/s"),
    shown("drain_celery_threads", "Celery threads", "/s"),
    shown("drain_celery_solo", "Celery solo", "/s"),
    shown("drain_bare", "bare limit", "/s"),
    shown("drain_bare_safe", "best bare shape that is safe", "/s"),
    shown("drain_64_commands", "Redis commands for one task, `-c 64`", "commands"),
    shown("drain_celery_prefork_commands", "Redis commands for one task, Celery", "commands"),
    shown("drain_64_worker_cpu", "processor time of the worker for one task, `-c 64`", "µs"),
    shown("drain_64_server_cpu", "processor time of the server for one task, `-c 64`", "µs"),
    // Draining with results.
    shown("results_64", "drain with results, `-c 64`", "/s"),
    at_least("results_64_to_prefork", "… to Celery prefork", 70.0, "×"),
    at_least("results_64_to_bare", "… to the bare limit", 60.0, "%"),
    shown("results_64_to_bare_safe", "… to the best bare shape that is safe", "%"),
    shown("results_8", "drain with results, `-c 8`", "/s"),
    at_least("results_8_to_prefork", "… to Celery prefork", 25.0, "×"),
    shown("results_8_to_bare", "… to the bare limit", "%"),
    shown("results_64_auto", "drain with results, `-c 64`, `auto`", "/s"),
    shown("results_8_auto", "drain with results, `-c 8`, `auto`", "/s"),
    shown("results_default", "drain with results, default settings", "/s"),
    at_least("results_default_to_best", "… to the best setting", 70.0, "%"),
    shown("results_celery_prefork", "Celery prefork, with results", "/s"),
    shown("results_celery_threads", "Celery threads, with results", "/s"),
    shown("results_celery_solo", "Celery solo, with results", "/s"),
    shown("results_bare", "bare limit, with results", "/s"),
    shown("results_bare_safe", "best bare shape that is safe, with results", "/s"),
    at_most("results_64_commands", "Redis commands for one task with its result, `-c 64`", 4.0, "commands"),
    shown("results_8_commands", "Redis commands for one task with its result, `-c 8`", "commands"),
    shown("results_celery_prefork_commands", "Redis commands for one task with its result, Celery", "commands"),
    shown("results_64_worker_cpu", "processor time of the worker for one task with its result, `-c 64`", "µs"),
    shown("results_64_server_cpu", "processor time of the server for one task with its result, `-c 64`", "µs"),
    // Remote control.
    shown("control_none", "drain, `-c 64`, beside 1,000 commands a second to nobody", "/s"),
    shown("control_asked", "drain, `-c 64`, beside 1,000 commands a second to the worker, with replies", "/s"),
    shown("control_asked_replies", "… replies that came meanwhile", "replies"),
    at_least("control_asked_to_none", "… to the drain without", 90.0, "%"),
    shown("control_rate", "commands that an idle worker answers, asked 1,000 times a second for 10 s", "/s"),
    none("control_unanswered", "commands without a reply", "commands"),
    below("control_growth", "memory that these commands leave in the worker", 2.0, "MB"),
    none("control_keys", "keys that they leave", "keys"),
    // Faults.
    none("lost", "tasks that were not run, in all drains", "tasks"),
    none("repeated", "tasks run twice, in all drains", "tasks"),
    none("unsettled", "messages not settled, after all drains", "messages"),
    none("unanswered", "tasks without a stored result, in all drains with results", "tasks"),
    none("unsent", "calls that are not in the queue, in all batches", "tasks"),
    // Calling.
    shown("enqueue", "enqueue, one awaited at a time", "/s"),
    at_least("enqueue_to_celery", "… to Celery's `apply_async`", 3.0, "×"),
    at_least("enqueue_to_bare", "… to a bare loop of LPUSH", 85.0, "%"),
    shown("enqueue_celery", "enqueue, Celery's `apply_async`", "/s"),
    shown("enqueue_bare", "enqueue, a bare loop of LPUSH", "/s"),
    at_least("enqueue_callers", "enqueue, one by one from 64 callers", 60_000.0, "/s"),
    shown("enqueue_callers_bare", "enqueue, 64 bare loops of LPUSH on one connection", "/s"),
    at_least("enqueue_batches", "enqueue, batches of 1,000", 80_000.0, "/s"),
    // Waiting for a result.
    at_most("round_trip", "`delay` to `get`, idle worker, p50", 0.45, "ms"),
    shown("round_trip_p99", "`delay` to `get`, idle worker, p99", "ms"),
    shown("round_trip_celery", "the same, Celery prefork, p50", "ms"),
    shown("round_trip_celery_p99", "the same, Celery prefork, p99", "ms"),
    at_most("round_trip_to_celery", "p50 to Celery's", 20.0, "%"),
    // A worker without load.
    at_most("idle_commands", "Redis commands of an idle worker for one task with its result", 12.0, "commands"),
    shown("idle_celery_commands", "the same, Celery", "commands"),
    shown("idle_commands_each_second", "Redis commands of an idle worker without a task", "/s"),
    below("idle_pss", "idle worker, memory (PSS)", 15.0, "MB"),
    shown("idle_written", "… without the pages of the program, which has every driver", "MB"),
    shown("idle_pss_celery", "the same, Celery prefork", "MB"),
    shown("idle_cpu", "idle worker, processor", "%"),
    shown("idle_cpu_celery", "the same, Celery prefork", "%"),
    below("first_task", "first task done after exec", 50.0, "ms"),
    shown("first_task_celery", "the same, Celery prefork", "ms"),
    // A server that is further away.
    shown("far_ping", "PING through the proxy that adds a millisecond to a round trip", "ms"),
    shown("far_64", "1 ms away: drain a filled queue, `-c 64`", "/s"),
    shown("far_64_auto", "1 ms away: the same, `auto`", "/s"),
    shown("far_celery_prefork", "1 ms away: Celery prefork", "/s"),
    shown("far_64_to_prefork", "1 ms away: `-c 64` to Celery prefork", "×"),
    shown("far_results_64", "1 ms away: drain with results, `-c 64`", "/s"),
    shown("far_results_64_auto", "1 ms away: the same, `auto`", "/s"),
    shown("far_results_celery_prefork", "1 ms away: Celery prefork, with results", "/s"),
    shown("far_results_64_to_prefork", "1 ms away: `-c 64` to Celery prefork, with results", "×"),
    at_most("far_round_trip", "1 ms away: `delay` to `get`, p50", 3.3, "ms"),
    shown("far_round_trip_celery", "1 ms away: `delay` to `get`, Celery prefork, p50", "ms"),
    at_most("far_round_trip_to_celery", "1 ms away: p50 to Celery's", 45.0, "%"),
    // Workers of ten queues with four steps of priority each.
    at_most("queues_connections_1", "connections of an idle worker of 10 queues", 4.0, "connections"),
    at_most("queues_caller_1", "connections of a caller that waits for results", 2.0, "connections"),
    shown("queues_idle_commands_1", "Redis commands of an idle worker of 10 queues", "/s"),
    shown("queues_idle_commands_100", "the same, each of 100 workers", "/s"),
    shown("queues_woken_1", "a call to the start of its task, 1 idle worker, p50", "ms"),
    below("queues_woken_p99_1", "the same, p99", 100.0, "ms"),
    shown("queues_commands_1", "Redis commands for one such task with its result", "commands"),
    shown("queues_woken_10", "a call to the start of its task, 10 idle workers, p50", "ms"),
    below("queues_woken_p99_10", "the same, p99", 100.0, "ms"),
    shown("queues_commands_10", "Redis commands for one such task with its result", "commands"),
    shown("queues_woken_100", "a call to the start of its task, 100 idle workers, p50", "ms"),
    below("queues_woken_p99_100", "the same, p99", 100.0, "ms"),
    at_most("queues_commands_100", "Redis commands for one such task with its result", 100.0, "commands"),
    // Events of tasks.
    shown("events_off", "drain a filled queue, `-c 64`, in turns with the next", "/s"),
    shown("events_on", "… with events of tasks (`-E`)", "/s"),
    at_most("events_cost", "… what they cost of the rate", 15.0, "%"),
    shown("events_celery_off", "Celery prefork, in turns with the next", "/s"),
    shown("events_celery_on", "… with `-E`", "/s"),
    shown("events_celery_cost", "… what they cost of the rate", "%"),
    shown("sent_events_off", "drain tasks, half of them callbacks, `-c 64`", "/s"),
    shown("sent_events_on", "… with `-E` and `task_send_sent_event`", "/s"),
    at_most("sent_events_cost", "… what they cost of the rate", 15.0, "%"),
    shown("sent_events_celery_off", "Celery prefork, the same", "/s"),
    shown("sent_events_celery_on", "… with `-E` and `task_send_sent_event`", "/s"),
    shown("sent_events_celery_cost", "… what they cost of the rate", "%"),
    shown("events_off_worker_cpu", "processor time of the worker for one task, without events", "µs"),
    shown("events_on_worker_cpu", "… with `-E`", "µs"),
    shown("events_off_server_cpu", "processor time of the server for one task, without events", "µs"),
    shown("events_on_server_cpu", "… with `-E`", "µs"),
    shown("events_on_publish", "PUBLISH commands for one task, with `-E`", "commands"),
    shown("events_heard", "drain with `-E` while a monitor listens, `-c 64`", "/s"),
    none("events_unheard", "events that this monitor did not hear", "events"),
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
