//! Errbacks of a chord's body that this worker calls itself. They are called before the delivery of the chord's last
//! part is settled (the first law): if the worker dies meanwhile, that part comes again, has the claim on the body
//! still, and the errbacks are called again.
//!
//! What the store does when it settles the part is done before once, as far as the errbacks depend on it. All of it may
//! be done twice: the settlement does it again, and ends the chord.

use std::collections::VecDeque;

use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::error::Result;

/// Counts the parts in `follow_ups`, and stores the failures of the bodies whose chords failed with them. The
/// continuations add the errbacks to the pending ones.
pub(crate) async fn fail_chords(backend: Option<&SharedBackend>, follow_ups: &FollowUps) -> Result<()> {
    let Some((backend, chords)) = backend.and_then(|backend| Some((backend, backend.chords()?))) else { return Ok(()) };
    let mut records = follow_ups.records.clone();
    let mut parts: VecDeque<_> = follow_ups.parts.iter().cloned().collect();
    loop {
        // A store may read the results of a header when its last part is counted.
        if !records.is_empty() {
            backend.store(std::mem::take(&mut records)).await?;
        }
        let Some(ended) = parts.pop_front() else { return Ok(()) };
        if chords.part_unless_last(ended.part.clone()).await?.is_some() {
            continue;
        }
        let progress = chords.part_done(ended.part.clone()).await?;
        if let Some((FollowUps { records: failed, parts: behind, .. }, _)) = ended.follow_ups_of(progress)? {
            records = failed;
            parts.extend(behind);
        }
    }
}
