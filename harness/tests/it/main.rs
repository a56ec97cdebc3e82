//! Runs the programs of this crate as other programs would.

mod redis;
mod torture;
