//! Options that do not exist, or that are given twice.

#![allow(unused)]

use apium_macros::task;

#[task(ack_late)]
fn nearest() {}

#[task(isolation = "process")]
fn unknown() {}

#[task(bind = true)]
fn bind() {}

#[task(acks_late, acks_late = false)]
fn twice() {}

#[task("proj.add")]
fn no_option() {}

#[task(acks_late track_started)]
fn no_comma() {}

#[task(retry_kwargs(count = 3))]
fn retry_kwargs() {}

#[task(name = "a", aliases = ["b", "b"])]
fn duplicate_alias() {}

#[task(name = "a", aliases = ["a"])]
fn alias_is_name() {}

#[task(aliases = "b")]
fn alias_no_list() {}

#[task(name = "a", namespace = "b")]
fn name_and_namespace() {}

#[task(time_limit = "50s", soft_time_limit = "1m")]
fn soft_above_hard() {}

fn main() {}
