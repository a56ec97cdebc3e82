//! Reading a whole queue: all of its messages for a moment, as the only reader. So a queue can hold what programs look
//! at and change one after the other: the dead set, and the records that workers share.

use std::time::Duration;

use apium_transport::error::{ErrorKind, Result};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};

use crate::connection::live_channel::LiveChannel;
use crate::shared::BrokerShared;

/// How often a reader tries to be the only one, and how long it waits in between.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// All messages of a queue, taken by the only reader. When it is dropped, the server takes back what was not acked.
pub(crate) struct WholeQueue {
    channel: LiveChannel,
    /// Held until the channel is closed.
    stream: lapin::Consumer,
    /// The messages.
    pub(crate) all: Vec<Delivery>,
}

impl WholeQueue {
    /// Takes all messages. Waits while another one reads.
    pub(crate) async fn open(shared: &BrokerShared, queue: &'static str) -> Result<Self> {
        let what = format!("read the queue {queue}");
        let live = shared.consuming.get(&what).await?;
        let mut attempt = 0;
        loop {
            let channel = live.channel(&what).await?;
            let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
            match channel.consume(queue.into(), "".into(), options).await.map_err(|error| channel.error(&what, &error))
            {
                Ok(stream) => {
                    let mut reading = Self { channel, stream, all: Vec::new() };
                    let read = reading.read_all(queue, shared.options.target.timeout).await;
                    return match read {
                        Ok(()) => Ok(reading),
                        Err(error) => Err(reading.channel.error(&what, &error)),
                    };
                }
                // Somebody else reads it at this moment.
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads what the queue holds. As the only reader it has everything when the server says that nothing waits.
    async fn read_all(&mut self, queue: &str, quiet: Duration) -> lapin::Result<()> {
        loop {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let counted = self.channel.attempt(|channel| channel.queue_declare(queue.into(), options, <_>::default()));
            let waiting = counted.await?.message_count();
            // What the server had sent before it answered has come before the answer.
            while let Ok(Some(delivery)) = tokio::time::timeout(Duration::ZERO, self.stream.next()).await {
                self.all.push(delivery?);
            }
            if waiting == 0 {
                return Ok(());
            }
            if let Ok(Some(delivery)) = tokio::time::timeout(quiet, self.stream.next()).await {
                self.all.push(delivery?);
            }
        }
    }

    /// Removes a message from the queue.
    pub(crate) async fn remove(&self, delivery: &Delivery) -> Result<()> {
        let acked = self.channel.ack(delivery.delivery_tag, false).await;
        acked.map_err(|error| self.channel.error("remove from a queue", &error))
    }

    /// Gives back what stays.
    pub(crate) async fn close(self) -> Result<()> {
        self.channel.close().await.map_err(|error| self.channel.error("read a queue", &error))
    }
}
