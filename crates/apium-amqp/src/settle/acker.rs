//! The acker of a consumer. What is delayed or dead-lettered is published first and acked then: a crash in between
//! repeats it and never loses it.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::broker::settlement::{Acker, AtomicSettle, Disposition, Receipt, lease_lost};
use apium_transport::error::Result;
use futures_util::future::{BoxFuture, try_join_all};
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::connection::live_channel::LiveChannel;
use crate::consumer::crash_records::forget_runs;
use crate::consumer::late_settlements::Settled;
use crate::consumer::run_marks::RunMarks;
use crate::consumer::state::{ConsumerState, ToMark, ToSettle};
use crate::crash_points::reached;
use crate::settle::sent_on::sent_on;
use crate::shared::BrokerShared;

/// How long a settlement may wait for the removal of what the server recorded of the crashes of its messages.
const FORGETTING: Duration = Duration::from_secs(2);

/// Settles the deliveries of one consumer.
#[derive(Debug)]
pub(crate) struct AmqpAcker {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    marks: Arc<RunMarks>,
}

/// How deliveries are settled at the server.
#[derive(Clone, Copy)]
enum How {
    Ack,
    Nack {
        requeue: bool,
    },
    /// Acked, since a message that takes its place waits in the queues of delays. Its crashes count on.
    Delayed,
}

impl How {
    /// What is to become of the message if it comes again all the same.
    fn settled(self) -> Option<Settled> {
        match self {
            Self::Ack | Self::Delayed => Some(Settled::Acked),
            Self::Nack { requeue: false } => Some(Settled::Discarded),
            Self::Nack { requeue: true } => None,
        }
    }
}

impl AmqpAcker {
    pub(crate) fn new(shared: Arc<BrokerShared>, state: Arc<ConsumerState>, marks: Arc<RunMarks>) -> Self {
        Self { shared, state, marks }
    }

    /// Settles deliveries at the server, all in the same way; the receipts that were void.
    async fn settle(&self, receipts: &[Receipt], how: How) -> Vec<Receipt> {
        let ToSettle { channel, tags, lost, crashed } = self.state.take(receipts, how.settled());
        let fences = receipts.iter().map(|receipt| receipt.fence);
        let comes_again = matches!(how, How::Nack { requeue: true });
        if comes_again {
            self.marks.withdraw(fences.clone()).await;
        }
        reached("before-settle");
        if let Some(channel) = channel {
            self.send(&channel, tags, how).await;
        }
        reached("after-settle");
        if !comes_again {
            self.marks.end(fences).await;
            if !crashed.is_empty()
                && !matches!(how, How::Delayed)
                && let Ok(Err(error)) = tokio::time::timeout(FORGETTING, forget_runs(&self.shared, &crashed)).await
            {
                tracing::debug!(error = %with_causes(&error), "could not remove the crashes of messages that are settled");
            }
        }
        lost
    }

    /// If the channel is lost, the messages come again, and are settled when they do.
    async fn send(&self, channel: &LiveChannel, tags: Vec<u64>, how: How) {
        let groups = self.state.group(tags);
        if let Err(error) = channel
            .attempt(|channel| {
                try_join_all(groups.into_iter().map(move |(tag, multiple)| async move {
                    match how {
                        How::Ack | How::Delayed => channel.basic_ack(tag, BasicAckOptions { multiple }).await,
                        How::Nack { requeue } => channel.basic_nack(tag, BasicNackOptions { multiple, requeue }).await,
                    }
                }))
            })
            .await
        {
            tracing::debug!(error = %with_causes(&error), "the channel is lost; what was settled is settled when it comes again");
        }
    }

    async fn reject_batch(&self, receipts: Vec<(Receipt, Disposition)>) -> Result<()> {
        self.shared.check_open("reject")?;
        let all = receipts.len();
        let (mut requeued, mut discarded, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for (receipt, how) in receipts {
            match how {
                Disposition::Requeue => requeued.push(receipt),
                Disposition::Discard => discarded.push(receipt),
                other => moved.push((receipt, other)),
            }
        }
        let mut lost = self.settle(&requeued, How::Nack { requeue: true }).await;
        lost.extend(self.settle(&discarded, How::Nack { requeue: false }).await);
        if !moved.is_empty() {
            let (found, void) = self.state.look(moved.iter().map(|(receipt, _)| receipt));
            lost.extend(void);
            let mut messages = Vec::with_capacity(found.len());
            for (receipt, delivery) in &found {
                let how = moved.iter().find(|(other, _)| other == receipt).map(|(_, how)| how);
                if let Some(how) = how {
                    messages.push(sent_on(&self.shared, delivery, how).await?);
                }
            }
            reached("before-sent-on");
            self.shared.publish_ready(messages).await?;
            reached("after-sent-on");
            let is_delayed = |receipt: &Receipt| {
                moved.iter().any(|(other, how)| other == receipt && matches!(how, Disposition::Delay(_)))
            };
            let (delayed, dead): (Vec<Receipt>, Vec<Receipt>) =
                found.into_iter().map(|(receipt, _)| receipt).partition(is_delayed);
            lost.extend(self.settle(&delayed, How::Delayed).await);
            lost.extend(self.settle(&dead, How::Ack).await);
        }
        if lost.is_empty() { Ok(()) } else { Err(lease_lost("reject", &lost, all)) }
    }
}

impl Acker for AmqpAcker {
    fn ack(&self, receipts: Vec<Receipt>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.check_open("ack")?;
            let lost = self.settle(&receipts, How::Ack).await;
            if lost.is_empty() { Ok(()) } else { Err(lease_lost("ack", &lost, receipts.len())) }
        })
    }

    fn reject(&self, receipts: Vec<(Receipt, Disposition)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.reject_batch(receipts))
    }

    fn mark_started<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shared.check_open("mark as started")?;
            let ToMark { runs, redelivered, lost } = self.state.start(receipts);
            reached("before-mark-started");
            let marked = self.marks.mark_started(runs, redelivered).await;
            reached("after-mark-started");
            if lost.is_empty() { marked } else { Err(lease_lost("mark as started", &lost, receipts.len())) }
        })
    }

    fn mark_suspect<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shared.check_open("mark as started")?;
            self.state.unstart_all();
            self.marks.withdraw_all().await;
            self.mark_started(std::slice::from_ref(receipt)).await
        })
    }

    fn atomic(&self) -> Option<&dyn AtomicSettle> {
        None
    }
}
