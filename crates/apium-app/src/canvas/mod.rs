//! The canvas without types: signatures of every kind, how they are joined, frozen, sent and run. What travels between programs
//! is made of these; the typed layer ([`signature`](crate::signature), [`group`](crate::group)) checks what fits.

pub mod eager;
pub mod freeze;
mod header_errbacks;
mod in_task;
pub mod node;
mod pipe;
pub mod plan;
mod replace;
pub mod send;
pub mod stamp;
mod steps;
mod wire;
