//! Functions that cannot be tasks.

#![allow(unused, unsafe_code)]

use apium_macros::task;

#[task]
fn generic<T>(x: T) {}

#[task]
fn lifetime<'a>(x: u8) {}

#[task]
unsafe fn dangerous() {}

#[task]
extern "C" fn foreign() {}

#[task]
struct NoFunction;

struct Thing;

impl Thing {
    #[task]
    fn method(&self, x: u8) {}
}

fn main() {}
