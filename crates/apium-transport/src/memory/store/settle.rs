//! Settling a batch with what it does to workflows, under the lock of the store: all of it or nothing.
//!
//! What may fail comes first: which deliveries are held, what the parts of chords come to, whether every message has a place to
//! go. Of that only chords change, and their changes can be undone. Then nothing fails any more.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::backend::backend::ResultRecord;
use crate::backend::chord::{ChordEnd, ChordProgress};
use crate::broker::consumer::{Receipt, Settle, Settlement};
use crate::broker::follow_ups::{PartEnd, Sequel};
use crate::error::Result;
use crate::memory::store::after_unlock::Later;
use crate::memory::store::chords::Changes;
use crate::memory::store::namespace::{Posting, World};

/// A settlement, with its messages made before the lock is taken.
#[derive(Debug)]
pub(crate) struct Prepared {
    record: Option<ResultRecord>,
    /// Those of its sequel.
    records: Vec<ResultRecord>,
    postings: Vec<Posting>,
    delivery: Option<(Receipt, Settle)>,
    sequel: Option<Box<Sequel>>,
}

impl From<Settlement> for Prepared {
    fn from(settlement: Settlement) -> Self {
        let Settlement { record, publish, delivery, mut sequel } = settlement;
        let mut prepared = Self {
            record,
            records: Vec::new(),
            postings: publish.into_iter().map(Posting::from).collect(),
            delivery,
            sequel: None,
        };
        if let Some(sequel) = &mut sequel {
            prepared.take(sequel);
        }
        prepared.sequel = sequel;
        prepared
    }
}

impl Prepared {
    /// Takes what is stored and published.
    fn take(&mut self, sequel: &mut Sequel) {
        self.records.append(&mut sequel.records);
        self.postings.extend(std::mem::take(&mut sequel.publish).into_iter().map(Posting::from));
    }
}

/// Settles for the seat `id`; names the lost receipts.
pub(crate) fn settle(
    world: &mut World,
    id: u64,
    batch: Vec<Prepared>,
    now: Timestamp,
    later: &mut Later,
) -> Result<Vec<Receipt>> {
    let (mut held, mut lost) = split(world, id, batch);
    let mut changes = Changes::default();
    let mut ready = Ok(());
    for prepared in held.iter_mut().filter(|prepared| prepared.sequel.is_some()) {
        ready = ready.and_then(|()| follow(world, prepared, now, &mut changes));
    }
    let ready = ready
        .and_then(|()| world.check_routes(held.iter().flat_map(|prepared| &prepared.postings).map(Posting::route)));
    if let Err(error) = ready {
        world.chords.undo(changes);
        return Err(error);
    }
    for Prepared { record, records, postings, delivery, .. } in held {
        // The same receipt may stand twice in one batch; the second time it is lost.
        if let Some((receipt, how)) = delivery
            && !world.settle(id, &receipt, how, now, later)
        {
            lost.push(receipt);
            continue;
        }
        for record in record.into_iter().chain(records) {
            world.results.store(record, now, later);
        }
        // The routes were checked under this same lock.
        world.publish(postings, now, later)?;
    }
    Ok(lost)
}

/// What the seat `id` holds, and the receipts of what it does not.
fn split(world: &World, id: u64, batch: Vec<Prepared>) -> (Vec<Prepared>, Vec<Receipt>) {
    let (mut held, mut lost): (Vec<Prepared>, _) = (Vec::with_capacity(batch.len()), Vec::new());
    for prepared in batch {
        let is_lost = |receipt: &Receipt| {
            // Parts are counted before anything is settled, so a second time must be seen here.
            let twice = || held.iter().filter_map(|held| held.delivery.as_ref()).any(|(held, _)| held == receipt);
            !world.holds(id, receipt) || (prepared.sequel.is_some() && twice())
        };
        match &prepared.delivery {
            Some((receipt, _)) if is_lost(receipt) => lost.push(receipt.clone()),
            _ => held.push(prepared),
        }
    }
    (held, lost)
}

/// Opens chords and counts parts; what follows the last part of a chord becomes part of the settlement.
fn follow(world: &mut World, prepared: &mut Prepared, now: Timestamp, changes: &mut Changes) -> Result<()> {
    let mut next: VecDeque<Sequel> = prepared.sequel.take().into_iter().map(|sequel| *sequel).collect();
    while let Some(mut sequel) = next.pop_front() {
        prepared.take(&mut sequel);
        for header in sequel.opens {
            world.chords.open(header, now, changes);
        }
        for end in sequel.parts {
            let World { chords, results, .. } = &mut *world;
            let Prepared { record, records, .. } = &*prepared;
            let stored = |id: &_| {
                let own = records.iter().rev().chain(record).find(|record| record.document.task_id == *id);
                own.map(|record| record.document.clone()).or_else(|| results.document(id, now))
            };
            let progress = chords.part_done(&end.part, now, changes, stored);
            if let Some((rest, how)) = rest_of(world, &end, progress)? {
                world.chords.finish(&end.part.group, how, now, changes);
                next.push_back(rest);
            }
        }
    }
    Ok(())
}

/// What follows a part; where it cannot be made or goes nowhere, what fails the chord.
fn rest_of(world: &World, end: &PartEnd, progress: Result<ChordProgress>) -> Result<Option<(Sequel, ChordEnd)>> {
    let progress = match progress {
        Ok(progress) => progress,
        Err(error) => return end.failed_by("Join error", &error),
    };
    let rest = end.rest_of(progress).and_then(|rest| {
        let messages = rest.iter().flat_map(|(rest, _)| &rest.publish);
        world.check_routes(messages.map(|out| (&*out.exchange, &*out.routing_key)))?;
        Ok(rest)
    });
    rest.or_else(|error| end.failed_by("Callback error", &error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use apium_protocol::json::text::Json;
    use apium_protocol::message::message::Message;
    use apium_protocol::result::state::State;

    use super::*;
    use crate::backend::chord::{ChordHeader, ChordPart, FailedPart};
    use crate::broker::follow_ups::Rest;
    use crate::broker::outgoing::Outgoing;

    /// Panics at one or both of its ends.
    struct Panics {
        failed_too: bool,
    }

    impl Rest for Panics {
        fn complete(&self, _: Vec<Json>) -> Sequel {
            panic!("a serializer of the user's")
        }

        fn failed(&self, part: FailedPart) -> Sequel {
            assert!(!self.failed_too, "and another one");
            let publish = vec![Outgoing::to_queue("errbacks", Message::default())];
            assert!(part.exception.as_str().contains("ChordError"), "{}", part.exception.as_str());
            Sequel { publish, ..Sequel::default() }
        }
    }

    fn last_part(failed_too: bool) -> Settlement {
        let part = ChordPart {
            group: "g".to_owned(),
            task_id: "t".into(),
            group_index: Some(0),
            state: State::Success,
            result: Json::NULL,
            ttl: None,
            claimant: "w".to_owned(),
            claim: Duration::ZERO,
        };
        let parts = vec![PartEnd { part, rest: Arc::new(Panics { failed_too }) }];
        let opens = vec![ChordHeader { group: "g".to_owned(), size: 1, structure: None, ttl: None }];
        let publish = vec![Outgoing::to_queue("next", Message::default())];
        let sequel = Some(Box::new(Sequel { opens, parts, ..Sequel::default() }));
        Settlement { publish, sequel, ..Settlement::default() }
    }

    fn ready(world: &World, queue: &str) -> usize {
        world.queues.get(queue).map_or(0, |queue| queue.ready())
    }

    #[test]
    fn a_body_that_cannot_be_made_fails_its_chord() {
        let (mut world, now) = (World::default(), Timestamp::UNIX_EPOCH);
        let settle = |world: &mut World, failed_too| {
            settle(world, 1, vec![Prepared::from(last_part(failed_too))], now, &mut Later::default())
        };
        let error = settle(&mut world, true).unwrap_err();
        assert!(error.to_string().starts_with("make what follows the chord g, whose last part is t"), "{error}");
        assert_eq!((ready(&world, "next"), ready(&world, "errbacks")), (0, 0));
        assert_eq!(world.chords.count("g", now), None, "it was opened in the same step");
        assert!(settle(&mut world, false).unwrap().is_empty());
        assert_eq!((ready(&world, "next"), ready(&world, "errbacks")), (1, 1));
        assert!(settle(&mut world, true).unwrap().is_empty(), "it is over");
        assert_eq!((ready(&world, "next"), ready(&world, "errbacks")), (2, 1));
    }
}
