//! What the end of a run does to workflows, inside the transaction that settles it: chords are opened, parts counted, and where a part
//! is the last of its chord, what follows is made and written in the same step.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::sequel::Sequel;

use crate::chord;
use crate::crash::reached;
use crate::letter::Letter;
use crate::publish;
use crate::record::Record;
use crate::results::store;
use crate::store::transaction::{Done, Tx};

/// Opens the chords of a sequel, counts its parts, and does what follows the last of them. The sequel's own records and messages are
/// the caller's, who has encoded them and found their queues before anything was written.
pub(crate) fn follow(tx: &mut Tx<'_>, sequel: &Sequel) -> Done<()> {
    let mut rests = VecDeque::new();
    count(tx, sequel, &mut rests)?;
    while let Some(mut rest) = rests.pop_front() {
        for record in std::mem::take(&mut rest.records) {
            store(tx, &Arc::new(Record::from(record)))?;
        }
        count(tx, &rest, &mut rests)?;
        let letters = Letter::encode_all(rest.publish);
        let routes = publish::routes(tx, letters.iter())?;
        publish::insert(tx, letters.iter(), &routes)?;
        reached("rest-written");
    }
    Ok(())
}

fn count(tx: &Tx<'_>, sequel: &Sequel, rests: &mut VecDeque<Sequel>) -> Done<()> {
    for header in &sequel.opens {
        chord::open(tx, header)?;
    }
    for end in &sequel.parts {
        let progress = chord::part_done(tx, &end.part)?;
        reached("part-counted");
        if let Some((rest, how)) = end.rest_of(progress)? {
            chord::end_now(tx, &end.part.group, how)?;
            rests.push_back(rest);
        }
    }
    Ok(())
}
