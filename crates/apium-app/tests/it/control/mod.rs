//! Remote control and events as a caller sees them, with workers that a script plays through the seam of broadcasts.

mod addresses;
mod commands;
mod events;
mod fake_worker;
mod pausing;
mod replies;
mod revoking;
