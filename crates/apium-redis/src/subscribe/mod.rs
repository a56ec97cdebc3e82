//! Subscriptions: one supervised connection for any number of channels and patterns.

pub(crate) mod session;
pub(crate) mod subscriber;
pub(crate) mod wanted;

#[cfg(test)]
mod tests;
