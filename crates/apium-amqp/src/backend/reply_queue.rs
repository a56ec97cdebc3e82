//! The queue in which this process gets its results. It outlives a lost connection, so that nothing is lost with it,
//! and goes when it was not used for a day.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_protocol::result::document::ResultDocument;
use apium_transport::error::Result;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::backend::replies::ResultInbox;
use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::publish::table::{int, short, table};
use crate::shared::BrokerShared;

/// How long the queue outlives its process, in milliseconds; Celery's are deleted then too.
const EXPIRES: i64 = 86_400_000;

/// How long it waits before it tries to connect again.
const PAUSE: Duration = Duration::from_millis(200);

/// How many results the server sends ahead of their acks.
const AHEAD: u16 = 1000;

/// The queue of this process.
#[derive(Debug)]
pub(crate) struct ReplyQueue {
    pub(crate) name: Arc<str>,
    pub(crate) replies: Arc<ResultInbox>,
    /// Held to keep the loop, with the loop; `None` until it is listened to.
    listening: Mutex<Option<(watch::Sender<()>, JoinHandle<()>)>>,
}

impl ReplyQueue {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self { name, replies: Arc::default(), listening: Mutex::new(None) }
    }

    /// Declares the queue and begins to consume from it, unless that was done. Results that are sent after this has
    /// returned are kept.
    pub(crate) async fn listen(&self, shared: &Arc<BrokerShared>) -> Result<()> {
        let mut listening = self.listening.lock().await;
        if listening.is_some() {
            return Ok(());
        }
        let opened = open(shared, &self.name).await?;
        let (stop, stopped) = watch::channel(());
        let (shared, name, replies) = (shared.clone(), self.name.clone(), self.replies.clone());
        let serving = runtime::handle()?.spawn(serve(shared, name, opened, replies, stopped));
        *listening = Some((stop, serving));
        Ok(())
    }

    /// Stops, and deletes the queue.
    pub(crate) async fn close(&self, shared: &Arc<BrokerShared>) {
        self.replies.close();
        let Some((stop, serving)) = self.listening.lock().await.take() else { return };
        drop(stop);
        // If it panicked, its channel is gone too.
        let _ = serving.await;
        if let Ok(mut commands) = shared.commands("delete the queue of results").await
            && let Ok(channel) = commands.channel("delete the queue of results").await
            && let Ok(name) = short("name of a queue", &self.name)
        {
            // If it fails, the queue goes when it was not used for a day.
            let _ = channel.attempt(|channel| channel.queue_delete(name, <_>::default())).await;
        }
    }
}

async fn open(shared: &BrokerShared, name: &str) -> Result<(LiveChannel, Consumer)> {
    let what = "listen for results";
    let live = shared.consuming.get(what).await?;
    let channel = live.channel(what).await?;
    let name = short("name of a queue", name)?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments = table([("x-expires", int(EXPIRES))]);
    channel.run(what, |channel| channel.queue_declare(name.clone(), durable, arguments)).await?;
    channel.run(what, |channel| channel.basic_qos(AHEAD, BasicQosOptions { global: false })).await?;
    let stream = channel.consume(name, "".into(), BasicConsumeOptions::default()).await;
    let stream = stream.map_err(|error| channel.error(what, &error))?;
    Ok((channel, stream))
}

async fn serve(
    shared: Arc<BrokerShared>,
    name: Arc<str>,
    mut opened: (LiveChannel, Consumer),
    replies: Arc<ResultInbox>,
    mut stopped: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => {
                // If it fails, the connection is gone, and the channel with it.
                let _ = opened.0.close().await;
                return;
            }
            () = receive(&mut opened, &replies) => {}
        }
        opened = loop {
            if shared.consuming.is_closed() {
                return replies.close();
            }
            match open(&shared, &name).await {
                Ok(opened) => break opened,
                Err(error) => tracing::debug!(error = %format!("{error:#}"), "could not listen for results yet"),
            }
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        };
    }
}

/// Returns when the stream has ended.
async fn receive((channel, stream): &mut (LiveChannel, Consumer), replies: &ResultInbox) {
    while let Some(Ok(delivery)) = stream.next().await {
        let tag = delivery.delivery_tag;
        match ResultDocument::from_json(&Bytes::from(delivery.data)) {
            Ok(document) => replies.add(document),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "a message in the queue of results is no result")
            }
        }
        // All that came before it were taken too. If it fails, the channel is lost, and a result comes twice.
        let _ = channel.ack(tag, true).await;
    }
}
