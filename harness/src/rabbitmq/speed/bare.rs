//! The bare limit: a client that publishes, consumes and acks as a worker and a caller must, reads the part of a body
//! that names the task's number, and does nothing else. It dispatches, limits, logs and retries nothing.

use std::time::{Duration, Instant};

use apium::prelude::BoxError;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};
use serde_json::Value;

use crate::counter::Counter;
use crate::rabbitmq::speed::node::{Encoded, QUEUE, connect, passive};
use crate::speed::drained::Drained;

/// How messages are consumed.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in the figures.
    pub name: &'static str,
    /// How many messages the server sends ahead.
    pub prefetch: u16,
    /// How many messages one ack settles.
    pub batch: u64,
}

/// The shapes that are measured. The best of them is the limit.
pub const SHAPES: &[Shape] = &[
    Shape { name: "64_of_256", prefetch: 256, batch: 64 },
    Shape { name: "256_of_1024", prefetch: 1024, batch: 256 },
    Shape { name: "512_of_4096", prefetch: 4096, batch: 512 },
];

/// Drains `count` numbers from the queue at `address`.
pub async fn drain(address: &str, shape: Shape, count: u64) -> Result<Drained, BoxError> {
    let counter = Counter::new(usize::try_from(count)?);
    let connection = connect(address).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(shape.prefetch, BasicQosOptions::default()).await?;
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = channel.basic_consume(QUEUE.into(), "bare".into(), options, table).await?;
    let mut done = 0;
    while done < count {
        let delivery = deliveries.next().await.ok_or("consume: the server ended it")??;
        let body: Value = serde_json::from_slice(&delivery.data)?;
        counter.record(body[0][0].as_u64().ok_or("read the number of a task")?);
        done += 1;
        if done % shape.batch == 0 || done == count {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    let (rate, lost, repeated) = (counter.rate(), counter.lost() as u64, counter.repeated() as u64);
    // The server answers when it has seen the acks.
    passive(&channel).await?;
    connection.close(200, "OK".into()).await?;
    Ok(Drained { rate, lost, repeated })
}

/// A channel whose messages are confirmed.
#[derive(Debug)]
pub struct BarePublisher {
    channel: Channel,
}

impl BarePublisher {
    /// Connects.
    pub async fn connect(address: &str) -> Result<Self, BoxError> {
        let channel = connect(address).await?.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel })
    }

    /// Publishes `count` messages, so many at a time, each group after the confirms of the one before.
    pub async fn publish(&self, messages: &[Encoded], count: u64, at_a_time: usize) -> Result<Duration, BoxError> {
        let started = Instant::now();
        let all: Vec<&Encoded> = messages.iter().cycle().take(usize::try_from(count)?).collect();
        for group in all.chunks(at_a_time) {
            let mut confirms = Vec::with_capacity(group.len());
            for message in group {
                let (options, properties) = (BasicPublishOptions::default(), message.properties.clone());
                let sent = self.channel.basic_publish("".into(), QUEUE.into(), options, &message.body, properties);
                confirms.push(sent.await?);
            }
            for confirm in try_join_all(confirms).await? {
                if !matches!(confirm, Confirmation::Ack(None)) {
                    return Err(format!("publish: the server answered {confirm:?}").into());
                }
            }
        }
        Ok(started.elapsed())
    }
}
