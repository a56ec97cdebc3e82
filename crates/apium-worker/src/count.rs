//! Counting the parts of chords where queue and results are two stores: what follows the last part is published before the chord is
//! ended, so a crash between the two sends the body again under the same id, and never loses it.

use apium_transport::backend::SharedBackend;
use apium_transport::chord::{ChordEnd, ChordProgress};
use apium_transport::error::Result;
use apium_transport::outgoing::Outgoing;
use apium_transport::sequel::Sequel;

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
        if !chords.discard(&self.group, &self.claimant, self.end).await? {
            tracing::warn!(
                group = self.group,
                "the claim on the body of chord {} was lost before it was ended",
                self.group
            );
        }
        Ok(())
    }
}

/// Does what sequels say but for publishing: stores, opens, counts. Messages are added to `publish`.
pub(crate) async fn count(
    backend: Option<&SharedBackend>,
    sequels: impl Iterator<Item = &Sequel>,
    publish: &mut Vec<Outgoing>,
) -> Result<Vec<EndedChord>> {
    let mut all = Sequel::default();
    sequels.for_each(|sequel| all.extend(sequel.clone()));
    let mut ended = Vec::new();
    let Some(backend) = backend else {
        publish.append(&mut all.publish);
        return Ok(ended);
    };
    loop {
        let Sequel { records, opens, parts, publish: messages } = std::mem::take(&mut all);
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
            let (group, claimant) = (end.part.group.clone(), end.part.claimant.clone());
            let (rest, how) = match chords.part_done(end.part).await? {
                ChordProgress::Waiting | ChordProgress::Fired => continue,
                ChordProgress::Complete(results) => (end.rest.complete(results), ChordEnd::Fired),
                ChordProgress::Failed(part) => (end.rest.failed(part), ChordEnd::Failed),
            };
            all.extend(rest);
            ended.push(EndedChord { group, claimant, end: how });
        }
    }
}
