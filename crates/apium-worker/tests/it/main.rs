//! Whole workers on the memory driver, with a clock that the tests turn and named signals instead of sleeps.

mod acks;
mod eager;
mod intake;
mod kit;
mod limits;
mod results;
mod retries;
mod rig;
mod stops;
