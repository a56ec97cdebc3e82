//! The publisher of a broker: one loop that owns the channel for publishing. It takes what many callers send in one
//! round, waits for the server's confirms of all of it, and tells each caller what became of each of its messages.

use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use lapin::message::BasicReturnMessage;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation};
use tokio::sync::{mpsc, oneshot};

use crate::connection::link::Link;
use crate::connection::live_channel::LiveChannel;
use crate::connection::runtime;
use crate::errors::{closed, from_lapin};

/// The most messages of one round. More wait for the next one.
const ROUND: usize = 4096;

/// So many batches may wait for a round; whoever has another one waits.
const WAITING: usize = 1024;

/// A message as it goes to the server.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    /// Whether the server returns it if no queue gets it. It is dropped otherwise.
    pub(crate) mandatory: bool,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Published {
    /// The server has it.
    Confirmed,
    /// No queue gets it.
    Returned,
    /// The server did not take it, or did not say that it has.
    Failed(Arc<Error>),
}

struct Job {
    messages: Vec<Ready>,
    done: oneshot::Sender<Vec<Published>>,
}

/// Publishes messages. Its loop ends when it is dropped.
#[derive(Debug)]
pub(crate) struct PublishLoop {
    jobs: mpsc::Sender<Job>,
}

impl PublishLoop {
    /// Starts the loop. It connects when something is published.
    pub(crate) fn start(link: Arc<Link>) -> Result<Self> {
        let (jobs, received) = mpsc::channel(WAITING);
        runtime::handle()?.spawn(serve(link, received));
        Ok(Self { jobs })
    }

    /// Publishes messages, and waits until the server has said what became of each.
    pub(crate) async fn publish(&self, messages: Vec<Ready>) -> Result<Vec<Published>> {
        let (done, published) = oneshot::channel();
        self.jobs.send(Job { messages, done }).await.map_err(|_| closed("publish"))?;
        published.await.map_err(|_| closed("publish"))
    }
}

async fn serve(link: Arc<Link>, mut jobs: mpsc::Receiver<Job>) {
    let mut channel = None;
    while let Some(first) = jobs.recv().await {
        let mut batch = vec![first];
        let mut count = batch[0].messages.len();
        while count < ROUND
            && let Ok(job) = jobs.try_recv()
        {
            count += job.messages.len();
            batch.push(job);
        }
        let all: Vec<&Ready> = batch.iter().flat_map(|job| &job.messages).collect();
        let mut outcomes = round(&link, &mut channel, &all).await.into_iter();
        let alone = batch.len() == 1;
        for job in batch {
            let mut outcome: Vec<Published> = outcomes.by_ref().take(job.messages.len()).collect();
            let is_failed = |published: &Published| matches!(published, Published::Failed(_));
            if !alone && outcome.iter().any(is_failed) {
                // Another caller's message may be why the channel was closed.
                publish_again(&link, &mut channel, &job.messages, &mut outcome).await;
            }
            // The caller may be gone.
            let _ = job.done.send(outcome);
        }
    }
}

/// Publishes those messages of a job again that failed in a round with others.
async fn publish_again(link: &Link, channel: &mut Option<LiveChannel>, messages: &[Ready], outcome: &mut [Published]) {
    let failed: Vec<usize> =
        (0..messages.len()).filter(|index| matches!(outcome[*index], Published::Failed(_))).collect();
    let retried: Vec<&Ready> = failed.iter().map(|index| &messages[*index]).collect();
    for (index, published) in failed.into_iter().zip(round(link, channel, &retried).await) {
        outcome[index] = published;
    }
}

async fn open<'a>(link: &Link, slot: &'a mut Option<LiveChannel>) -> Result<&'a LiveChannel> {
    let live = link.get("publish").await?;
    if let Some(reason) = live.blocked() {
        let what = format!("publish at {}: the server takes no messages now ({reason})", live.server());
        return Err(Error::new(ErrorKind::Unavailable, what));
    }
    let is_open = slot.as_ref().is_some_and(|open| open.live().epoch == live.epoch && open.is_open());
    if !is_open {
        *slot = None;
        let channel = live.channel("publish").await?;
        channel.run("publish", |channel| channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *slot = Some(channel);
    }
    slot.as_ref().ok_or_else(|| closed("publish"))
}

/// Publishes messages and waits for their confirms.
async fn round(link: &Link, slot: &mut Option<LiveChannel>, messages: &[&Ready]) -> Vec<Published> {
    let failed = |error: Error| {
        let error = Arc::new(error);
        messages.iter().map(|_| Published::Failed(error.clone())).collect()
    };
    let open = match open(link, slot).await {
        Ok(open) => open,
        Err(error) => return failed(error),
    };
    let timeout = link.target().timeout;
    let (published, is_late) = send(open, messages, timeout).await;
    if is_late {
        // What the server has not confirmed may still be on its way. With the connection it ends.
        open.live().abort();
        *slot = None;
    }
    published
}

async fn send(open: &LiveChannel, messages: &[&Ready], timeout: Duration) -> (Vec<Published>, bool) {
    let server = open.live().server();
    let sends = messages.iter().map(|message| {
        let target = (message.exchange.clone(), message.routing_key.clone());
        async move { open.publish(target, message.mandatory, &message.body, message.properties.clone()).await?.await }
    });
    // Much to send takes longer, so only a server that confirms nothing for a while is late.
    let large: usize = messages.iter().map(|message| message.body.len()).sum();
    let timeout = timeout.saturating_add(Duration::from_secs(large as u64 / 5_000_000));
    let mut sends: FuturesOrdered<_> = sends.collect();
    let mut confirmed = Vec::with_capacity(messages.len());
    let mut late = None;
    while late.is_none() && confirmed.len() < messages.len() {
        match open.live().within(timeout, async { Ok(sends.next().await) }).await {
            Ok(next) => confirmed.extend(next),
            Err(error) => {
                let error = match open.live().blocked() {
                    Some(reason) => {
                        let what = format!("publish at {server}: the server takes no messages now ({reason})");
                        Error::new(ErrorKind::Timeout, what)
                    }
                    None => open.error("publish, and wait for the confirm", &error),
                };
                late = Some(Arc::new(error));
            }
        }
    }
    let mut returned = Vec::new();
    let mut published: Vec<Published> = confirmed
        .into_iter()
        .map(|confirmed| match confirmed {
            Ok(Confirmation::Ack(back)) => {
                returned.extend(back);
                Published::Confirmed
            }
            Ok(Confirmation::Nack(back)) => {
                returned.extend(back);
                let what = format!("publish at {server}: the queue is full, or could not keep the message");
                Published::Failed(Arc::new(Error::new(ErrorKind::Unavailable, what)))
            }
            Ok(Confirmation::NotRequested) => {
                let what = format!("publish at {server}: it does not confirm");
                Published::Failed(Arc::new(Error::new(ErrorKind::Other, what)))
            }
            Err(error) => Published::Failed(Arc::new(from_lapin("publish", server, &error))),
        })
        .collect();
    mark_returned(messages, &mut published, &returned);
    let is_late = late.is_some();
    if let Some(error) = late {
        published.resize_with(messages.len(), || Published::Failed(error.clone()));
    }
    (published, is_late)
}

/// Finds the messages that the server returned. The library attaches a returned message to any confirm.
fn mark_returned(messages: &[&Ready], published: &mut [Published], returned: &[BasicReturnMessage]) {
    for back in returned {
        let find = |exactly: bool| {
            messages.iter().zip(published.iter()).position(|(message, published)| {
                matches!(published, Published::Confirmed)
                    && message.mandatory
                    && message.exchange == back.delivery.exchange
                    && message.routing_key == back.delivery.routing_key
                    && (!exactly || message.properties.correlation_id() == back.delivery.properties.correlation_id())
            })
        };
        if let Some(index) = find(true).or_else(|| find(false)) {
            published[index] = Published::Returned;
        }
    }
}
