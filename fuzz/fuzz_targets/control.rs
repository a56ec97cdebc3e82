//! The check `control`, on inputs of the fuzzer.
//! Run with `cargo +nightly fuzz run control`; `cargo run --bin seeds` in this folder makes its first inputs.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod checks;

fuzz_target!(|data: &[u8]| checks::control::check(data));
