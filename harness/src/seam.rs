//! What the driver traits cost: publish, next and ack on the memory driver, called directly and through `dyn`.
//!
//! Both ways run the same code of the driver. They differ in the boxed future and the virtual call of each batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apium_protocol::message::message::Message;
use apium_transport::address::Address;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::consumer::{ConsumeSpec, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Receipt;
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use apium_transport::memory::MemoryDriver;
use bytes::Bytes;

use crate::quantile::median;

/// Messages in a batch.
pub const BATCH: usize = 64;

/// What one message costs, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Called directly.
    pub direct: f64,
    /// Called through `dyn Broker`, `dyn Consumer` and `dyn Acker`.
    pub boxed: f64,
}

/// Measures `rounds` times `batches` batches each way, in turns, and takes the medians.
pub async fn measure(rounds: usize, batches: usize) -> Result<Cost> {
    let (mut direct, mut boxed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        direct.push(per_message(run_direct(prepared(batches)).await?, batches));
        boxed.push(per_message(run_boxed(prepared(batches)).await?, batches));
    }
    Ok(Cost { direct: median(direct), boxed: median(boxed) })
}

fn per_message(took: Duration, batches: usize) -> f64 {
    took.as_nanos() as f64 / (batches * BATCH) as f64
}

/// The batches, made before the time is taken.
fn prepared(batches: usize) -> Vec<Vec<Outgoing>> {
    let mut message = Message::default();
    message.body = Bytes::from_static(&[b'x'; 100]);
    let queue: Arc<str> = "seam".into();
    (0..batches).map(|_| (0..BATCH).map(|_| Outgoing::to_queue(queue.clone(), message.clone())).collect()).collect()
}

fn spec() -> ConsumeSpec {
    ConsumeSpec::new(vec!["seam".to_owned()], "seam@bench".to_owned())
}

fn receipts(deliveries: Vec<Delivery>) -> Vec<Receipt> {
    deliveries.into_iter().map(|delivery| delivery.receipt).collect()
}

async fn run_direct(batches: Vec<Vec<Outgoing>>) -> Result<Duration> {
    let options = DriverOptions::new(Clock::system());
    let broker = MemoryDriver::new().open_broker(Address::parse("memory://")?, &options);
    let mut consumer = broker.open_consumer(&spec())?;
    let acker = consumer.memory_acker();
    let started = Instant::now();
    for batch in batches {
        broker.publish_batch(batch)?;
        acker.ack_batch(&receipts(consumer.next_batch(BATCH).await?))?;
    }
    Ok(started.elapsed())
}

async fn run_boxed(batches: Vec<Vec<Outgoing>>) -> Result<Duration> {
    let options = DriverOptions::new(Clock::system());
    let broker: SharedBroker = Arc::new(MemoryDriver::new().open_broker(Address::parse("memory://")?, &options));
    let mut consumer = broker.consume(spec()).await?;
    let acker = consumer.acker();
    let started = Instant::now();
    for batch in batches {
        broker.publish(batch).await?;
        acker.ack(receipts(consumer.next(BATCH).await?)).await?;
    }
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ways_are_measured() {
        let cost = measure(1, 2).await.unwrap();
        assert!(cost.direct > 0.0 && cost.boxed > 0.0, "{cost:?}");
    }
}
