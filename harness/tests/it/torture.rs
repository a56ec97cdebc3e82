//! A share of the fault tests. Each program breaks its own server, or its own workers.

use crate::program::run;

#[test]
fn twenty_kills_lose_nothing() {
    let figures = run(env!("CARGO_BIN_EXE_torture_sqlite"), &["20", "kills"]);
    assert!(figures.contains(r#""measure":"published""#), "{figures}");
}

/// Runs another fault test of the embedded driver.
fn sqlite_keeps(test: &str) {
    let row = run(env!("CARGO_BIN_EXE_torture_sqlite"), &["20", test]);
    assert!(row.contains(r#""kept":true"#), "{row}");
}

#[test]
fn sqlite_strands_nothing_on_a_full_disk() {
    sqlite_keeps("full-disk");
}

#[test]
fn sqlite_workers_may_have_their_clocks_set() {
    sqlite_keeps("clock-steps");
}

#[test]
fn sqlite_workers_may_be_stopped_for_longer_than_their_lease() {
    sqlite_keeps("suspended");
}

#[test]
fn sqlite_tasks_end_alone_when_code_of_the_users_panics_or_hangs() {
    sqlite_keeps("user-code");
}

#[test]
fn sqlite_revokes_are_honoured_by_workers_that_start_later() {
    sqlite_keeps("durable-revokes");
}

#[test]
fn sqlite_warm_stops_lose_and_repeat_nothing() {
    sqlite_keeps("warm-shutdown");
}

#[test]
fn sqlite_tasks_that_block_the_reactor_are_named() {
    sqlite_keeps("blocked-reactor");
}

#[test]
fn sqlite_workers_are_quiet_when_they_are_idle() {
    sqlite_keeps("idle-quiet");
}

/// Runs the fault test of a guarantee on memory.
fn memory_keeps(guarantee: &str) {
    let row = run(env!("CARGO_BIN_EXE_torture_memory"), &["brief", guarantee]);
    assert!(row.contains(&format!(r#""guarantee":"{guarantee}""#)), "{row}");
}

#[test]
fn memory_revokes_are_honoured_by_workers_that_start_later() {
    memory_keeps("durable-revokes");
}

#[test]
fn memory_warm_stops_lose_and_repeat_nothing() {
    memory_keeps("warm-shutdown");
}

#[test]
fn memory_tasks_that_block_the_reactor_are_named() {
    memory_keeps("blocked-reactor");
}

#[test]
fn memory_workers_are_quiet_when_they_are_idle() {
    memory_keeps("idle-quiet");
}

/// Runs the fault test of a guarantee on Redis.
fn redis_keeps(guarantee: &str) {
    let row = run(env!("CARGO_BIN_EXE_torture_redis"), &["brief", guarantee]);
    assert!(row.contains(&format!(r#""guarantee":"{guarantee}""#)), "{row}");
}

#[test]
fn redis_loses_nothing_to_kills() {
    redis_keeps("nothing-lost");
}

#[test]
fn redis_runs_a_long_task_once() {
    redis_keeps("run-once");
}

#[test]
fn redis_tasks_of_a_killed_worker_are_taken_over() {
    redis_keeps("takeover");
}

#[test]
fn redis_publishing_ends_within_a_deadline() {
    redis_keeps("deadline");
}

#[test]
fn redis_is_consumed_again_after_an_outage() {
    redis_keeps("reconnect");
}

#[test]
fn redis_stores_etas_outside_of_workers() {
    redis_keeps("million-etas");
}

#[test]
fn redis_gets_few_commands_from_idle_workers() {
    redis_keeps("idle-quiet");
}

#[test]
fn redis_waiters_get_results_whose_notification_was_lost() {
    redis_keeps("waiters");
}

#[test]
fn redis_tasks_end_alone_when_code_of_the_users_panics_or_hangs() {
    redis_keeps("user-code");
}

#[test]
fn redis_strands_nothing_when_it_refuses() {
    redis_keeps("refusing-store");
}

#[test]
fn redis_workers_may_have_their_clocks_set_and_be_stopped() {
    redis_keeps("clock-jumps");
}

#[test]
fn redis_outages_make_no_task_fail() {
    redis_keeps("outage-no-failure");
}

#[test]
fn redis_revokes_are_honoured_by_workers_that_start_later() {
    redis_keeps("durable-revokes");
}

#[test]
fn redis_warm_stops_lose_and_repeat_nothing() {
    redis_keeps("warm-shutdown");
}

#[test]
fn redis_tasks_that_block_the_reactor_are_named() {
    redis_keeps("blocked-reactor");
}

/// Runs fault tests on RabbitMQ, all on one node.
fn rabbitmq_keeps(guarantees: &[&str]) {
    let rows = run(env!("CARGO_BIN_EXE_torture_amqp"), &[&["brief"], guarantees].concat());
    for guarantee in guarantees {
        assert!(rows.contains(&format!(r#""guarantee":"{guarantee}""#)), "{rows}");
    }
}

#[test]
fn rabbitmq_loses_nothing_to_kills() {
    rabbitmq_keeps(&["nothing-lost"]);
}

#[test]
fn rabbitmq_keeps_its_other_guarantees() {
    rabbitmq_keeps(&["crash-loop", "run-once", "takeover", "deadline", "million-etas", "reconnect"]);
}

#[test]
fn rabbitmq_keeps_what_operators_rely_on() {
    rabbitmq_keeps(&["durable-revokes", "warm-shutdown", "blocked-reactor", "idle-quiet"]);
}

/// Runs a fault test of child processes, of both kinds.
fn processes_keep(guarantee: &str) {
    let row = run(env!("CARGO_BIN_EXE_torture_processes"), &["brief", guarantee]);
    assert!(row.contains(&format!(r#""guarantee":"{guarantee}""#)), "{row}");
}

#[test]
fn children_that_are_killed_take_nothing_but_their_runs_with_them() {
    processes_keep("isolation");
}

#[test]
fn workers_that_are_killed_with_their_children_lose_nothing() {
    processes_keep("nothing-lost");
}

#[test]
fn tasks_that_kill_their_children_again_and_again_go_to_the_dead_set() {
    processes_keep("crash-loop");
}

#[test]
fn tasks_that_never_end_are_ended_by_their_limits() {
    processes_keep("time-limits");
}

#[test]
fn revokes_are_honoured_by_workers_with_children_that_start_later() {
    processes_keep("durable-revokes");
}

#[test]
fn warm_stops_of_workers_with_children_lose_and_repeat_nothing() {
    processes_keep("warm-shutdown");
}

/// Kills the workers of small chords at every crash point, twice.
fn chords_survive_on(driver: &str) {
    let lines = run(env!("CARGO_BIN_EXE_torture_canvas"), &["2", "200", driver]);
    assert!(lines.contains(r#""case":"before-settle, the last part""#), "{lines}");
}

#[test]
fn redis_chords_survive_the_death_of_their_workers() {
    chords_survive_on("redis");
}

#[test]
fn sqlite_chords_survive_the_death_of_their_workers() {
    chords_survive_on("sqlite");
}
