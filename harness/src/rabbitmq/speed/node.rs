//! The private node of the measurements.

use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::rabbitmq_server::RabbitmqServer;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::process;
use crate::speed::load;

/// The queue of the measurements.
pub const QUEUE: &str = "celery";

/// A node with its default configuration, and an address in it for each measurement.
#[derive(Debug)]
pub struct Node {
    server: RabbitmqServer,
}

/// A message as it goes to the server.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Its properties.
    pub properties: BasicProperties,
    /// Its body.
    pub body: Vec<u8>,
}

impl Node {
    /// Starts it.
    pub fn start() -> Self {
        Self { server: tokio::task::block_in_place(RabbitmqServer::start) }
    }

    /// The address of a vhost that was not used before.
    pub fn fresh(&self) -> String {
        tokio::task::block_in_place(|| self.server.fresh_vhost().url)
    }

    /// A fresh address, whose queue holds the calls of the numbers below `count`. `options` go into the address.
    pub async fn filled(&self, count: u64, options: &str) -> Result<String, BoxError> {
        let address = self.fresh() + options;
        let app = load::app(&address, false).await?;
        load::fill(&app, count).await?;
        app.close().await?;
        Ok(address)
    }

    /// Messages as Apium makes them.
    pub async fn messages(&self, count: u64) -> Result<Vec<Encoded>, BoxError> {
        let address = self.filled(count, "").await?;
        let channel = connect(&address).await?.create_channel().await?;
        let mut messages = Vec::new();
        while let Some(got) = channel.basic_get(QUEUE.into(), BasicGetOptions { no_ack: true }).await? {
            messages.push(Encoded { properties: got.delivery.properties, body: got.delivery.data });
        }
        if messages.len() as u64 != count {
            return Err(format!("read {count} messages: there are {}", messages.len()).into());
        }
        Ok(messages)
    }

    /// Processor time that it used so far.
    pub fn processor(&self) -> Result<Duration, BoxError> {
        let pid = self.server.pid().ok_or("measure the node: it does not run")?;
        Ok(process::tree(pid)?.into_iter().map(process::processor).sum::<Result<Duration, _>>()?)
    }
}

/// A connection of the bare client. What the address says to Apium alone is left out.
pub async fn connect(address: &str) -> Result<Connection, BoxError> {
    let address = address.split('?').next().unwrap_or(address);
    Ok(Connection::connect(address, ConnectionProperties::default()).await?)
}

/// How many messages the queue holds that no worker has.
pub async fn left(address: &str) -> Result<u64, BoxError> {
    let connection = connect(address).await?;
    // A channel that is dropped closes by itself, and may meet the end of its connection.
    let channel = connection.create_channel().await?;
    let left = u64::from(passive(&channel).await?.message_count());
    connection.close(200, "OK".into()).await?;
    Ok(left)
}

/// The queue, which must be there.
pub async fn passive(channel: &Channel) -> Result<lapin::Queue, BoxError> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await?)
}
