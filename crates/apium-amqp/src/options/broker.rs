//! The options of a broker: kombu's `broker_transport_options`, and Apium's own.

use apium_transport::address::Address;
use apium_transport::broker::topology::QueueType;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use apium_transport::raw_options::RawOptions;

use crate::options::target::Target;
use crate::options::without_meaning::WITHOUT_MEANING;

/// A broker as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BrokerOptions {
    pub(crate) target: Target,
    /// The type of all queues that are declared without one of their own (`queue_type`). Without it no type is
    /// declared, and the server decides.
    pub(crate) queue_type: Option<QueueType>,
    /// The largest priority of queues that are declared without one of their own (`queue_max_priority`; Celery:
    /// `task_queue_max_priority`). Quorum queues have none.
    pub(crate) max_priority: Option<u8>,
    /// The type of the queues in which delayed messages wait (`native_delayed_delivery_queue_type`; Celery:
    /// `broker_native_delayed_delivery_queue_type`).
    pub(crate) delay_queue_type: QueueType,
}

impl BrokerOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut raw = RawOptions::new(address, &options.extra, WITHOUT_MEANING);
        let target = Target::read(address, options, &mut raw)?;
        let queue_type = queue_type(&mut raw, "queue_type")?;
        let delay_queue_type = queue_type_of_delays(&mut raw)?;
        let max_priority = match raw.take("queue_max_priority") {
            None => None,
            Some(value) => {
                let most = value.count().ok().and_then(|most| u8::try_from(most).ok());
                Some(most.ok_or_else(|| raw.invalid("queue_max_priority", &value, "a number from 0 to 255"))?)
            }
        };
        raw.refuse_unread()?;
        Ok(Self { target, queue_type, max_priority, delay_queue_type })
    }

    /// Of servers alone, where nothing is declared but a queue of results.
    pub(crate) fn of_target(target: Target) -> Self {
        Self { target, queue_type: None, max_priority: None, delay_queue_type: QueueType::Quorum }
    }
}

fn queue_type(raw: &mut RawOptions, name: &'static str) -> Result<Option<QueueType>> {
    raw.choice(name, "classic or quorum", QueueType::named)
}

fn queue_type_of_delays(raw: &mut RawOptions) -> Result<QueueType> {
    Ok(queue_type(raw, "native_delayed_delivery_queue_type")?.unwrap_or(QueueType::Quorum))
}

#[cfg(test)]
mod tests {
    use apium_transport::clock::Clock;

    use super::*;

    fn read(query: &str) -> Result<BrokerOptions> {
        let address = Address::parse(&format!("amqp://host?{query}")).unwrap();
        BrokerOptions::read(&address, &DriverOptions::new(Clock::system()))
    }

    #[test]
    fn options_are_read() {
        let read_all = read("queue_type=quorum&queue_max_priority=10&native_delayed_delivery_queue_type=classic");
        let all = read_all.unwrap();
        assert_eq!((all.queue_type, all.max_priority), (Some(QueueType::Quorum), Some(10)));
        assert_eq!(all.delay_queue_type, QueueType::Classic);
        let none = read("").unwrap();
        assert_eq!((none.queue_type, none.max_priority, none.delay_queue_type), (None, None, QueueType::Quorum));
    }

    #[test]
    fn wrong_values_are_named() {
        for (query, part) in
            [("queue_type=stream", "classic or quorum"), ("queue_max_priority=256", "0 to 255"), ("quee=1", "quee")]
        {
            let error = read(query).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
