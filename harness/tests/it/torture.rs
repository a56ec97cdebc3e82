//! A tenth of the fault tests. Each program breaks a server, or workers, of its own.

use std::process::Command;

#[test]
fn twenty_kills_lose_nothing() {
    let out = Command::new(env!("CARGO_BIN_EXE_torture_sqlite")).arg("20").output().unwrap();
    let (figures, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{figures}\n{errors}");
    assert!(figures.contains(r#""measure":"published""#), "{figures}");
}

/// Lets the Redis driver show that it keeps a promise.
fn redis_keeps(promise: &str) {
    let out = Command::new(env!("CARGO_BIN_EXE_torture_redis")).args(["brief", promise]).output().unwrap();
    let (row, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{row}\n{errors}");
    assert!(row.contains(&format!(r#""promise":"{promise}""#)), "{row}");
}

#[test]
fn redis_loses_nothing_to_kills() {
    redis_keeps("P1");
}

#[test]
fn redis_runs_long_work_once() {
    redis_keeps("P2");
}

#[test]
fn redis_recovers_quickly() {
    redis_keeps("P3");
}

#[test]
fn redis_publishing_has_a_deadline() {
    redis_keeps("P5");
}

#[test]
fn redis_is_consumed_again() {
    redis_keeps("P6");
}

#[test]
fn redis_parks_etas() {
    redis_keeps("P7");
}

#[test]
fn redis_is_left_alone_by_idle_workers() {
    redis_keeps("P16");
}

#[test]
fn redis_results_are_never_missed() {
    redis_keeps("P17");
}

/// Lets the workers of small chords die at every place, twice.
fn chords_survive_on(driver: &str) {
    let out = Command::new(env!("CARGO_BIN_EXE_torture_canvas")).args(["2", "200", driver]).output().unwrap();
    let (lines, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{lines}\n{errors}");
    assert!(lines.contains(r#""place":"before-settle, the last part""#), "{lines}");
}

#[test]
fn redis_chords_survive_the_death_of_their_workers() {
    chords_survive_on("redis");
}

#[test]
fn sqlite_chords_survive_the_death_of_their_workers() {
    chords_survive_on("sqlite");
}
