//! Counts the parts of chords where queues and results are two stores. What follows the last part is published before
//! the chord is ended, so a crash between the two sends the body once more, under the same id, and never loses it (the
//! guarantee `chord-once`).
//!
//! An early-ack part is not delivered again when its worker dies. So before it is counted, if it may be the last one,
//! the worker publishes a recount: a message that counts the part once more after this worker's claim on the body has
//! expired. By then the chord has ended, or the recount sends the body.

use std::collections::VecDeque;

use apium_protocol::value::printable::printable_text;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::backend::chord::{ChordEnd, ChordProgress, ChordStore};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Settlement;
use apium_transport::error::Result;

/// A chord whose follow-ups are made. It is to be ended when they are published.
#[derive(Debug, Clone)]
pub(crate) struct EndedChord {
    group: String,
    claimant: String,
    end: ChordEnd,
}

impl EndedChord {
    /// Ends the chord. A claim that was lost meanwhile is only logged: what follows is published, and another worker
    /// may have published the same.
    pub(crate) async fn end(&self, backend: Option<&SharedBackend>) -> Result<()> {
        let Some(chords) = backend.and_then(|backend| backend.chords()) else { return Ok(()) };
        if !chords.end(&self.group, &self.claimant, self.end).await? {
            let group = &*printable_text(&self.group);
            tracing::warn!(group, "the claim on the body of chord {group} was lost before it was ended");
        }
        Ok(())
    }
}

/// Does what the follow-ups of these settlements say, all but publishing: it stores records, opens chords and counts
/// parts. Messages are added to `publish`. Returns the chords that are to be ended when these messages are published.
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
    let mut ended_chords = Vec::new();
    let Some(backend) = backend else {
        publish.append(&mut all.publish);
        return Ok(ended_chords);
    };
    loop {
        let FollowUps { records, opens, parts, publish: messages, .. } = std::mem::take(&mut all);
        publish.extend(messages);
        if !records.is_empty() {
            backend.store(records).await?;
        }
        let Some(chords) = backend.chords() else { return Ok(ended_chords) };
        for header in opens {
            chords.open(header).await?;
        }
        if parts.is_empty() {
            return Ok(ended_chords);
        }
        for ended_part in parts {
            let (group, claimant) = (ended_part.part.group.clone(), ended_part.part.claimant.clone());
            // Parts that the end of a chord brings have no entry in the list: they come once more when a part of that
            // chord does.
            let progress = match without_delivery.pop_front() {
                Some(true) => count_undelivered(chords, broker, &ended_part).await?,
                _ => chords.part_done(ended_part.part.clone()).await?,
            };
            // The body is made by code of the app. Where that panics the chord fails, and nothing else.
            let made = ended_part.follow_ups_of(progress);
            let made = made.or_else(|error| ended_part.fail_chord("Callback error", &error))?;
            let Some((follow_ups, end)) = made else { continue };
            all.extend(follow_ups);
            ended_chords.push(EndedChord { group, claimant, end });
        }
    }
}

/// Counts a part that has no delivery, and so is not delivered again when this worker dies.
async fn count_undelivered(
    chords: &dyn ChordStore,
    broker: &SharedBroker,
    ended_part: &EndedPart,
) -> Result<ChordProgress> {
    if let Some(progress) = chords.part_unless_last(ended_part.part.clone()).await? {
        return Ok(progress);
    }
    if let Some(recount) = ended_part.recount_message(Some(ended_part.part.claim)) {
        broker.publish(vec![recount]).await?;
    }
    chords.part_done(ended_part.part.clone()).await
}
