//! The options of a broker: kombu's `broker_transport_options`, and Apium's own.

use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;

use crate::keys::broker_keys::Keys;
use crate::options::raw::RawOptions;
use crate::options::target::Target;

/// What becomes of a message with an eta (`eta_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtaStrategy {
    /// It is published as Celery does it; a worker of Apium that receives it delays it in the server (the default).
    Receive,
    /// It is also delayed in the server when it is published. A worker of Apium must run, since Celery's do not promote
    /// it.
    Park,
    /// As in Celery, the worker that receives it keeps it until it is due. Delayed messages are promoted at once.
    Hold,
}

/// In which order queues are read (`queue_order_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueOrder {
    /// After each claim the first queue becomes the last.
    RoundRobin,
    /// As they were given.
    AsGiven,
    /// By name.
    Sorted,
}

/// A broker as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BrokerOptions {
    pub(crate) target: Target,
    pub(crate) keys: Keys,
    pub(crate) eta_strategy: EtaStrategy,
    pub(crate) queue_order: QueueOrder,
    /// A message in flight that nobody has renewed for this time is given to another worker, as in kombu (default 1 h).
    pub(crate) visibility_timeout: Duration,
}

impl BrokerOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut raw = RawOptions::new(address, &options.extra);
        let target = Target::read(address, options, &mut raw)?;
        let keys = Keys::read(&mut raw, &target)?;
        let eta = match raw.take("eta_strategy").as_deref() {
            None | Some("receive") => EtaStrategy::Receive,
            Some("park") => EtaStrategy::Park,
            Some("hold") => EtaStrategy::Hold,
            Some(other) => return Err(raw.invalid("eta_strategy", other, "receive, park or hold")),
        };
        let order = match raw.take("queue_order_strategy").as_deref() {
            None | Some("round_robin") => QueueOrder::RoundRobin,
            Some("priority") => QueueOrder::AsGiven,
            Some("sorted") => QueueOrder::Sorted,
            Some(other) => {
                return Err(raw.invalid("queue_order_strategy", other, "round_robin, priority or sorted"));
            }
        };
        let visibility = raw.seconds("visibility_timeout")?.unwrap_or(Duration::from_secs(3600));
        raw.refuse_unread()?;
        Ok(Self { target, keys, eta_strategy: eta, queue_order: order, visibility_timeout: visibility })
    }
}
