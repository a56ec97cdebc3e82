//! Subscriptions: one connection for all channels of a broker or result backend.

pub(crate) mod broker_channels;
pub(crate) mod channels;
pub(crate) mod listeners;
pub(crate) mod session;
pub(crate) mod subscriber;
#[cfg(test)]
mod tests;
