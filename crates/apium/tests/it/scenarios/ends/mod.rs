//! Runs that do not end by themselves: what a shutdown, a revoke and a reject do to tasks that wait or run.

mod rejecting;
mod revoking;
pub(crate) mod shutdown;
mod signals;
