//! What the end of a run does to workflows, inside the transaction that settles it: chords are opened, parts counted, and where a part
//! is the last of its chord, what follows is made and written in the same step.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::backend::chord::ChordEnd;
use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::error::Error;

use crate::backend::chord;
use crate::backend::results::store;
use crate::crash_points::reached;
use crate::publish::message_row::Letter;
use crate::publish::publish;
use crate::publish::publish::Routes;
use crate::store::result_row::Record;
use crate::store::transaction::{Done, Fault, Tx};

/// What follows a chord.
struct Ended {
    rest: FollowUps,
    letters: Vec<Letter>,
    routes: Routes,
}

/// Opens the chords of a sequel, counts its parts, and does what follows the last of them. The sequel's own records and messages are
/// the caller's, who has encoded them and found their queues before anything was written.
pub(crate) fn follow(tx: &mut Tx<'_>, sequel: &FollowUps) -> Done<()> {
    let mut ended = VecDeque::new();
    count(tx, sequel, &mut ended)?;
    while let Some(Ended { mut rest, letters, routes }) = ended.pop_front() {
        for record in std::mem::take(&mut rest.records) {
            store(tx, &Arc::new(Record::from(record)))?;
        }
        count(tx, &rest, &mut ended)?;
        publish::insert(tx, letters.iter(), &routes)?;
        reached("rest-written");
    }
    Ok(())
}

fn count(tx: &mut Tx<'_>, sequel: &FollowUps, ended: &mut VecDeque<Ended>) -> Done<()> {
    for header in &sequel.opens {
        chord::open(tx, header)?;
    }
    for end in &sequel.parts {
        let made = match chord::part_done(tx, &end.part) {
            Ok(progress) => {
                reached("part-counted");
                end.follow_ups_of(progress)
            }
            Err(Fault::Refused(error)) => end.fail_chord("Join error", &error),
            Err(fault) => return Err(fault),
        };
        let callback_error = |error: &Error| end.fail_chord("Callback error", error);
        let Some(rest) = made.or_else(|error| callback_error(&error))? else { continue };
        let (how, next) = match routed(tx, rest) {
            Err(Fault::Refused(error)) => match callback_error(&error)? {
                Some(rest) => routed(tx, rest)?,
                None => continue,
            },
            routed => routed?,
        };
        chord::end_now(tx, &end.part.group, how)?;
        ended.push_back(next);
    }
    Ok(())
}

/// Finds where the messages of a rest go.
fn routed(tx: &mut Tx<'_>, (mut rest, how): (FollowUps, ChordEnd)) -> Done<(ChordEnd, Ended)> {
    let letters = Letter::encode_all(std::mem::take(&mut rest.publish));
    let routes = publish::routes(tx, letters.iter())?;
    Ok((how, Ended { rest, letters, routes }))
}
