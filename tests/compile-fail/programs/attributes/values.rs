//! Values that do not fit their options.

#![allow(unused)]

use apium_macros::task;

#[task(time_limit = "ten minutes")]
fn time_words() {}

#[task(time_limit = "10x")]
fn time_unit() {}

#[task(expires = -5)]
fn time_negative() {}

#[task(default_retry_delay = true)]
fn time_flag() {}

#[task(rate_limit = "10/x")]
fn rate_unit() {}

#[task(rate_limit = "many/m")]
fn rate_count() {}

#[task(rate_limit = true)]
fn rate_flag() {}

#[task(priority = 256)]
fn priority() {}

#[task(priority = "high")]
fn priority_word() {}

#[task(max_retries = forever)]
fn retries_word() {}

#[task(max_retries = "3")]
fn retries_text() {}

#[task(retry_backoff = "fast")]
fn backoff() {}

#[task(acks_late = 1)]
fn flag() {}

#[task(queue = mail)]
fn queue() {}

#[task(name = "")]
fn empty() {}

#[task(autoretry_for("ValueError"))]
fn errors_text() {}

#[task(autoretry_for = BadAddress)]
fn errors_no_list() {}

#[task(throws())]
fn errors_none() {}

#[task(on_failure = |ctx, failure| ())]
fn hook() {}

fn main() {}
