//! A channel with its connection. The client library may let a command wait for ever when the connection ends at the
//! moment at which it is sent, so all commands go through here, where each one ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::{Error, Result};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, PublisherConfirm};

use crate::connection::link::Live;
use crate::errors::from_lapin;

impl Live {
    /// Opens a channel.
    pub(crate) async fn channel(self: &Arc<Self>, what: &str) -> Result<LiveChannel> {
        match self.within(self.timeout(), self.create_channel()).await {
            Ok(channel) => Ok(LiveChannel { live: self.clone(), channel }),
            Err(error) => Err(from_lapin(what, self.server(), &error)),
        }
    }

    /// Waits for the answer to a command: until it is there, until the connection is lost, or for so long. A server
    /// that does not answer in that time loses the connection.
    pub(crate) async fn within<T>(
        &self,
        span: Duration,
        command: impl Future<Output = lapin::Result<T>>,
    ) -> lapin::Result<T> {
        tokio::select! {
            biased;
            done = command => done,
            () = self.lost() => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was lost").into())
            }
            () = tokio::time::sleep(span) => {
                self.abort();
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {span:?}")).into())
            }
        }
    }
}

/// An open channel of a connection.
#[derive(Debug, Clone)]
pub(crate) struct LiveChannel {
    live: Arc<Live>,
    channel: Channel,
}

impl LiveChannel {
    /// Whether it can be used, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.live.is_alive() && self.channel.status().connected()
    }

    /// Its connection.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Waits for a command as long as a server may take: `what` was attempted.
    pub(crate) async fn run<'a, T, F>(&'a self, what: &str, command: impl FnOnce(&'a Channel) -> F) -> Result<T>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        self.attempt(command).await.map_err(|error| self.error(what, &error))
    }

    /// The same for a command whose error says something.
    pub(crate) async fn attempt<'a, T, F>(&'a self, command: impl FnOnce(&'a Channel) -> F) -> lapin::Result<T>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        self.live.within(self.live.timeout(), command(&self.channel)).await
    }

    /// The same for a command that may take longer.
    pub(crate) async fn attempt_within<'a, T, F>(
        &'a self,
        span: Duration,
        command: impl FnOnce(&'a Channel) -> F,
    ) -> lapin::Result<T>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        self.live.within(span.max(self.live.timeout()), command(&self.channel)).await
    }

    /// The error of the seam: `what` was attempted.
    pub(crate) fn error(&self, what: &str, error: &lapin::Error) -> Error {
        from_lapin(what, self.live.server(), error)
    }

    /// Publishes. The confirm is waited for by the caller, with a limit of its own.
    pub(crate) async fn publish(
        &self,
        (exchange, routing_key): (ShortString, ShortString),
        mandatory: bool,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory, immediate: false };
        self.channel.basic_publish(exchange, routing_key, options, body, properties).await
    }

    /// Acks a delivery; with `multiple`, all that came before it too.
    pub(crate) async fn ack(&self, tag: u64, multiple: bool) -> lapin::Result<()> {
        self.attempt(|channel| channel.basic_ack(tag, BasicAckOptions { multiple })).await
    }

    /// Consumes from a queue. The channel must be closed before the stream is dropped, if it is closed at all: the
    /// library cancels a stream that is dropped, and a cancel that meets a channel that closes ends the connection.
    pub(crate) async fn consume(
        &self,
        queue: ShortString,
        tag: ShortString,
        options: BasicConsumeOptions,
    ) -> lapin::Result<lapin::Consumer> {
        self.attempt(|channel| channel.basic_consume(queue, tag, options, FieldTable::default())).await
    }

    /// Closes it. The server takes back what was not acked before it answers.
    pub(crate) async fn close(&self) -> lapin::Result<()> {
        self.attempt(|channel| channel.close(200, "OK".into())).await
    }
}
