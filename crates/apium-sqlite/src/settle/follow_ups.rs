//! What the end of a run does to workflows, inside the transaction that settles it: it opens chords and counts parts.
//! When a part is the last of its chord, the follow-ups of the chord are built and written in the same transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::error::Error;

use crate::backend::chord;
use crate::backend::results::store;
use crate::crash_points::reached;
use crate::publish::message_row::EncodedMessage;
use crate::publish::publish;
use crate::publish::publish::Routes;
use crate::store::result_row::ResultRow;
use crate::store::transaction::{Fault, Tx, TxResult};

/// A chord whose last part was counted, with what follows it.
struct EndedChord {
    follow_ups: FollowUps,
    messages: Vec<EncodedMessage>,
    routes: Routes,
}

/// Opens chords, counts parts, and writes what follows the chords that end by it. The caller writes the records and
/// messages of `follow_ups` itself: it encoded them and found their queues before anything was written.
pub(crate) fn apply(tx: &mut Tx<'_>, follow_ups: &FollowUps) -> TxResult<()> {
    let mut ended = VecDeque::new();
    count_parts(tx, follow_ups, &mut ended)?;
    while let Some(EndedChord { mut follow_ups, messages, routes }) = ended.pop_front() {
        for record in std::mem::take(&mut follow_ups.records) {
            store(tx, &Arc::new(ResultRow::from(record)))?;
        }
        count_parts(tx, &follow_ups, &mut ended)?;
        publish::insert(tx, messages.iter(), &routes)?;
        reached("rest-written");
    }
    Ok(())
}

/// Opens the chords, counts the parts, and appends the chords that end by it to `ended`.
fn count_parts(tx: &mut Tx<'_>, follow_ups: &FollowUps, ended: &mut VecDeque<EndedChord>) -> TxResult<()> {
    for header in &follow_ups.opens {
        chord::open(tx, header)?;
    }
    for part in &follow_ups.parts {
        let continued = match chord::part_done(tx, &part.part) {
            Ok(progress) => {
                reached("part-counted");
                part.follow_ups_of(progress)
            }
            Err(Fault::Refused(error)) => part.fail_chord("Join error", &error),
            Err(fault) => return Err(fault),
        };
        let callback_error = |error: &Error| part.fail_chord("Callback error", error);
        let Some((next, end)) = continued.or_else(|error| callback_error(&error))? else { continue };
        let (chord, end) = match with_routes(tx, next) {
            Ok(chord) => (chord, end),
            Err(Fault::Refused(error)) => match callback_error(&error)? {
                Some((next, end)) => (with_routes(tx, next)?, end),
                None => continue,
            },
            Err(fault) => return Err(fault),
        };
        chord::end_now(tx, &part.part.group, end)?;
        ended.push_back(chord);
    }
    Ok(())
}

/// Encodes the messages that follow a chord, and finds their queues.
fn with_routes(tx: &mut Tx<'_>, mut follow_ups: FollowUps) -> TxResult<EndedChord> {
    let messages = EncodedMessage::encode_all(std::mem::take(&mut follow_ups.publish));
    let routes = publish::routes(tx, messages.iter())?;
    Ok(EndedChord { follow_ups, messages, routes })
}
