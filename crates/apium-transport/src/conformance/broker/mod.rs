//! Cases for brokers, consumers and ackers.

pub mod admin;
pub mod broadcasts;
pub mod clock_steps;
pub mod closing;
pub mod consuming;
pub mod crashes;
pub mod dead_letters;
pub mod delaying;
pub mod demands;
pub mod fleet;
pub mod publishing;
pub mod routing;
pub mod settling;
