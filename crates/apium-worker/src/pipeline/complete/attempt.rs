//! One attempt to do a group of completions, in the order of the laws.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::settlement::{Acker, Acknowledgement};
use apium_transport::error::{Error, ErrorKind, Result};
use futures_util::FutureExt as _;

use crate::backends::Backends;
use crate::follow_up::count_parts::count_parts;
use crate::pipeline::completion::{BatchProgress, Completion, Stage};
use crate::pool::guard::Panicked;

/// The stores of a worker.
pub(crate) struct Stores {
    pub(crate) broker: SharedBroker,
    pub(crate) backends: Arc<Backends>,
}

impl Stores {
    /// Makes one attempt at a group of one source and one lane. It goes on where the attempt before it failed: a
    /// message that is published is not published again because the ack failed. A panic, of a driver or of code of the
    /// app that a driver calls, is an error.
    pub(crate) async fn attempt(
        &self,
        own_backend: Option<&SharedBackend>,
        group: &[Completion],
        progress: &mut BatchProgress,
    ) -> Result<()> {
        let attempt = AssertUnwindSafe(self.attempt_unguarded(own_backend, group, progress)).catch_unwind();
        attempt.await.unwrap_or_else(|panic| {
            let text = "settle: a driver, or code of the app that it calls, panicked";
            Err(Error::new(ErrorKind::Other, text).with_source(Panicked::of(&*panic)))
        })
    }

    async fn attempt_unguarded(
        &self,
        own_backend: Option<&SharedBackend>,
        group: &[Completion],
        progress: &mut BatchProgress,
    ) -> Result<()> {
        let Some(source) = group.first().map(|first| &first.source) else { return Ok(()) };
        let app_backend = self.backends.app();
        if progress.stage < Stage::DeadLettered {
            let dead_letters: Vec<_> =
                group.iter().filter_map(|completion| completion.dead_letter.as_deref().cloned()).collect();
            if let Some(dead_set) = self.broker.dead().filter(|_| !dead_letters.is_empty()) {
                dead_set.add(dead_letters).await?;
            }
            progress.stage = Stage::DeadLettered;
        }
        if let Some(atomic) = source.acker.atomic().filter(|_| source.is_atomic && own_backend.is_none()) {
            let settled = atomic.settle(group.iter().map(|completion| completion.settlement.clone()).collect()).await;
            return progress.collect_lost(settled);
        }
        if progress.stage < Stage::Stored {
            let records: Vec<_> =
                group.iter().filter_map(|completion| completion.settlement.record.as_deref().cloned()).collect();
            if let Some(backend) = own_backend.or(app_backend).filter(|_| !records.is_empty()) {
                backend.store(records).await?;
            }
            progress.stage = Stage::Stored;
        }
        if progress.stage < Stage::Published {
            let settlements = group.iter().map(|completion| &completion.settlement);
            let mut messages: Vec<_> =
                settlements.clone().flat_map(|settlement| settlement.publish.iter().cloned()).collect();
            // When publishing fails the parts are counted once more. The claim on a body is still this worker's then.
            progress.chords = count_parts(app_backend, &self.broker, settlements, &mut messages).await?;
            if !messages.is_empty() {
                self.broker.publish(messages).await?;
            }
            progress.stage = Stage::Published;
        }
        while let Some(chord) = progress.chords.last() {
            chord.end(app_backend).await?;
            progress.chords.pop();
        }
        settle_deliveries(&*source.acker, group, progress).await
    }
}

/// Acks and rejects the deliveries of a group.
pub(crate) async fn settle_deliveries(
    acker: &dyn Acker,
    group: &[Completion],
    progress: &mut BatchProgress,
) -> Result<()> {
    let (mut acks, mut rejects) = (Vec::with_capacity(group.len()), Vec::new());
    for completion in group {
        match &completion.settlement.delivery {
            Some((receipt, Acknowledgement::Ack)) => acks.push(receipt.clone()),
            Some((receipt, Acknowledgement::Reject(disposition))) => {
                rejects.push((receipt.clone(), disposition.clone()));
            }
            None => {}
        }
    }
    if progress.stage < Stage::Acked {
        if !acks.is_empty() {
            progress.collect_lost(acker.ack(acks).await)?;
        }
        progress.stage = Stage::Acked;
    }
    match rejects.is_empty() {
        true => Ok(()),
        false => progress.collect_lost(acker.reject(rejects).await),
    }
}
