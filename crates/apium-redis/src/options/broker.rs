//! The options of a broker: kombu's `broker_transport_options`, and a few of Apium's own.

use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;

use crate::keys::broker_keys::Keys;
use crate::options::raw::RawOptions;
use crate::options::target::Target;

/// What becomes of messages with an eta (`eta_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtaStrategy {
    /// Publish them as Celery does; a worker that receives one parks it (the default).
    Receive,
    /// Park them when they are published, too. Only where a worker of Apium runs, since no other returns them.
    Park,
    /// As Celery: whoever receives one holds it. What is parked goes back to its queue at once.
    Hold,
}

/// In which order queues are read (`queue_order_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueOrder {
    /// The queue that was served last comes last.
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
    /// After this time without a sign of life a delivery of any worker is given to another (kombu's; 1 h).
    pub(crate) visibility_timeout: Duration,
}

impl BrokerOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut given = RawOptions::new(address, &options.extra);
        let target = Target::read(address, options, &mut given)?;
        let keys = Keys::read(&mut given, &target)?;
        let eta = match given.take("eta_strategy").as_deref() {
            None | Some("receive") => EtaStrategy::Receive,
            Some("park") => EtaStrategy::Park,
            Some("hold") => EtaStrategy::Hold,
            Some(other) => return Err(given.invalid("eta_strategy", other, "receive, park or hold")),
        };
        let order = match given.take("queue_order_strategy").as_deref() {
            None | Some("round_robin") => QueueOrder::RoundRobin,
            Some("priority") => QueueOrder::AsGiven,
            Some("sorted") => QueueOrder::Sorted,
            Some(other) => {
                return Err(given.invalid("queue_order_strategy", other, "round_robin, priority or sorted"));
            }
        };
        let visibility = given.seconds("visibility_timeout")?.unwrap_or(Duration::from_secs(3600));
        given.refuse_unread()?;
        Ok(Self { target, keys, eta_strategy: eta, queue_order: order, visibility_timeout: visibility })
    }
}
