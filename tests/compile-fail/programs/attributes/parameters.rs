//! Parameters whose value cannot be read from a message.

#![allow(unused)]

use apium_macros::task;

struct Ctx;
struct Args;
struct Kwargs;
struct Smtp;

#[task]
fn pattern((x, y): (i64, i64)) {}

#[task]
fn unnamed(_: i64) {}

#[task]
fn text(name: &str) {}

#[task]
fn slice(values: &[u8]) {}

#[task]
fn reference(value: &u64) {}

#[task]
fn any(values: impl Iterator<Item = u8>) {}

#[task]
fn mutable(ctx: &mut Ctx) {}

#[task]
fn rest_first(kwargs: Kwargs, x: u8) {}

#[task]
fn keyword_first(#[keyword] key: u8, x: u8) {}

#[task]
fn keyword_before_rest(#[keyword] key: u8, args: Args) {}

#[task]
fn keyword_context(#[keyword] ctx: &Ctx) {}

#[task]
fn keyword_injected(
    #[inject]
    #[keyword]
    smtp: Smtp,
) {
}

#[task]
fn rest_twice(args: Args, more: Args) {}

#[task]
fn rest_last(kwargs: Kwargs, args: Args) {}

#[task]
fn default_first(#[default] x: u8, y: u8) {}

#[task]
fn default_context(#[default] ctx: &Ctx) {}

#[task]
fn default_injected(
    #[inject]
    #[default]
    smtp: Smtp,
) {
}

#[task]
fn two_mistakes((a, b): (u8, u8), name: &str) {}

fn main() {}
