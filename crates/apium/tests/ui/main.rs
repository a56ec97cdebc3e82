//! What the attributes accept, and what they leave behind. A binary of its own, since every `#[task]` in a binary
//! registers itself for all of it, and these take state that other tests do not give.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod canvas;
mod tasks;
mod wire_error;
