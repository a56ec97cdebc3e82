//! What is particular to the server of a broker in these tests.

use std::fmt::Debug;

use apium::prelude::BoxError;
use apium_peers::redis_server::RedisServer;

/// The server of a broker. It keeps what it has when it is killed.
pub trait Server: Debug + Send + Sync {
    /// Kills it and starts it again.
    fn restart(&self);

    /// How many messages are in the queues or in the dead set, where the broker itself cannot tell.
    fn leftover(&self) -> Option<Result<u64, BoxError>> {
        None
    }

    /// What clients send it from now on, where that can be seen.
    fn traffic(&self) -> Option<Box<dyn Traffic>> {
        None
    }
}

/// What workers do at their store.
pub trait Traffic {
    /// What is counted, in the plural.
    fn name(&self) -> &'static str;

    /// How much there was since the last look.
    fn look(&mut self) -> Result<u64, BoxError>;

    /// What it was, in a few words, if that is known.
    fn kinds(&self) -> Option<String> {
        None
    }
}

impl Server for RedisServer {
    fn restart(&self) {
        Self::restart(self);
    }
}
