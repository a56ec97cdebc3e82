//! Tests of the facade as a user sees it: command line, examples, bad input, compile-time errors.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

#[macro_use]
mod ground;

mod bad_input;
mod canvas;
mod command_line;
mod examples;
mod flaky;
mod gate;
mod guide;
mod interop;
mod live;
mod pages;
mod program;
mod promises;
mod quickstart;
mod recorded_log;
mod scenarios;
mod testing;
