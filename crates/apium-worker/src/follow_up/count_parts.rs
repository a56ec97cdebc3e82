//! Counting the parts of chords where queue and results are two stores: what follows the last part is published before the chord is
//! ended, so a crash between the two sends the body again under the same id, and never loses it.
//!
//! A part whose delivery was acked before its run does not come again by itself. Before such a one is counted, where it may be the last,
//! a message is published that counts it once more when the claim of this worker has run out; by then the chord has ended, or it is
//! ended by that.

use std::collections::VecDeque;

use apium_transport::backend::backend::SharedBackend;
use apium_transport::backend::chord::{ChordEnd, ChordProgress, ChordStore};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Settlement;
use apium_transport::error::Result;

/// A chord whose rest is made, and that is to be ended once it is published.
#[derive(Debug, Clone)]
pub(crate) struct EndedChord {
    group: String,
    claimant: String,
    end: ChordEnd,
}

impl EndedChord {
    /// Ends it. That its claim was lost meanwhile changes nothing any more.
    pub(crate) async fn end(&self, backend: Option<&SharedBackend>) -> Result<()> {
        let Some(chords) = backend.and_then(|backend| backend.chords()) else { return Ok(()) };
        if !chords.end(&self.group, &self.claimant, self.end).await? {
            tracing::warn!(
                group = self.group,
                "the claim on the body of chord {} was lost before it was ended",
                self.group
            );
        }
        Ok(())
    }
}

/// Does what the sequels of these settlements say but for publishing: stores, opens, counts. Messages are added to `publish`.
pub(crate) async fn count_parts(
    backend: Option<&SharedBackend>,
    broker: &SharedBroker,
    settlements: impl Iterator<Item = &Settlement>,
    publish: &mut Vec<Outgoing>,
) -> Result<Vec<EndedChord>> {
    let mut all = FollowUps::default();
    let mut without_delivery = VecDeque::new();
    for settlement in settlements {
        let Some(follow_ups) = &settlement.follow_ups else { continue };
        all.extend((**follow_ups).clone());
        without_delivery.resize(all.parts.len(), settlement.delivery.is_none());
    }
    let mut ended = Vec::new();
    let Some(backend) = backend else {
        publish.append(&mut all.publish);
        return Ok(ended);
    };
    loop {
        let FollowUps { records, opens, parts, publish: messages, .. } = std::mem::take(&mut all);
        publish.extend(messages);
        if !records.is_empty() {
            backend.store(records).await?;
        }
        let Some(chords) = backend.chords() else { return Ok(ended) };
        for header in opens {
            chords.open(header).await?;
        }
        if parts.is_empty() {
            return Ok(ended);
        }
        for end in parts {
            let (group, claimant, rest) = (end.part.group.clone(), end.part.claimant.clone(), end.continuation.clone());
            // Those of a chord that follows this one come again with the part that it follows.
            let progress = match without_delivery.pop_front() {
                Some(true) => count_undelivered(chords, broker, &end).await?,
                _ => chords.part_done(end.part).await?,
            };
            let (followed, how) = match progress {
                ChordProgress::Waiting | ChordProgress::Fired => continue,
                ChordProgress::Complete(results) => (rest.complete(results), ChordEnd::Fired),
                ChordProgress::Failed(part) => (rest.failed(part), ChordEnd::Failed),
            };
            all.extend(followed);
            ended.push(EndedChord { group, claimant, end: how });
        }
    }
}

/// Counts a part that does not come again by itself.
async fn count_undelivered(chords: &dyn ChordStore, broker: &SharedBroker, end: &EndedPart) -> Result<ChordProgress> {
    if let Some(progress) = chords.part_unless_last(end.part.clone()).await? {
        return Ok(progress);
    }
    if let Some(again) = end.recount_message(Some(end.part.claim)) {
        broker.publish(vec![again]).await?;
    }
    chords.part_done(end.part.clone()).await
}
