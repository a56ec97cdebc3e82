//! Tests of the crate as a user sees it: the command line, the examples, bad input, the task guide, workflows,
//! guarantees.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper fails its test")]

#[macro_use]
mod fixture;

mod bad_input;
mod canvas;
mod command_line;
mod examples;
mod flaky;
mod gate;
mod guarantees;
mod guide;
mod interop;
mod live;
mod pages;
mod program;
mod quickstart;
mod recorded_log;
mod scenarios;
mod testing;
