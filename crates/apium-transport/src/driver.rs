//! Drivers open brokers and result backends by address.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::address::Address;
use crate::backend::backend::SharedBackend;
use crate::broker::broker::SharedBroker;
use crate::clock::Clock;
use crate::error::Result;
use crate::option_value::OptionValue;

/// What the settings tell every driver.
#[derive(Clone)]
#[non_exhaustive]
pub struct DriverOptions {
    /// The clock.
    pub clock: Clock,
    /// How long connecting, and one operation, may take (`broker_connection_timeout`, default 4 s).
    pub connect_timeout: Duration,
    /// `broker_transport_options` or `result_backend_transport_options`, by name. The query of the address is not among
    /// them; a driver whose addresses have one reads it itself.
    pub extra: BTreeMap<String, OptionValue>,
}

impl fmt::Debug for DriverOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A transport option may be a password, so only the names are shown.
        f.debug_struct("DriverOptions")
            .field("clock", &self.clock)
            .field("connect_timeout", &self.connect_timeout)
            .field("extra", &self.extra.keys())
            .finish()
    }
}

impl DriverOptions {
    /// Celery's defaults, with this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, connect_timeout: Duration::from_secs(4), extra: BTreeMap::new() }
    }

    /// Adds one of the options in [`extra`](Self::extra), in place of one of the same name.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }
}

/// Opens brokers and result backends. Both of one store may share a connection.
pub trait Driver: Send + Sync + 'static {
    /// The URL schemes of its addresses.
    fn schemes(&self) -> &'static [&'static str];

    /// Opens a broker.
    fn broker(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBroker>>;

    /// Opens a result backend.
    fn backend(&self, address: Address, options: DriverOptions) -> BoxFuture<'_, Result<SharedBackend>>;
}

/// A shared driver.
pub type SharedDriver = Arc<dyn Driver>;
