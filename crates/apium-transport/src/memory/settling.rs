//! Settling a batch with what it does to workflows, under the lock of the store: all of it or nothing.
//!
//! What may fail comes first: which deliveries are held, what the parts of chords come to, whether every message has a place to
//! go. Of that only chords change, and their changes can be undone. Then nothing fails any more.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::backend::ResultRecord;
use crate::consumer::{Receipt, Settle, Settlement};
use crate::error::Result;
use crate::memory::chords::Changes;
use crate::memory::later::Later;
use crate::memory::store::{Posting, World};
use crate::sequel::Sequel;

/// A settlement, with its messages made before the lock is taken.
#[derive(Debug)]
pub(super) struct Prepared {
    records: Vec<ResultRecord>,
    postings: Vec<Posting>,
    delivery: Option<(Receipt, Settle)>,
    sequel: Option<Box<Sequel>>,
}

impl From<Settlement> for Prepared {
    fn from(settlement: Settlement) -> Self {
        let Settlement { record, publish, delivery, mut sequel } = settlement;
        let mut prepared = Self {
            records: record.into_iter().collect(),
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
pub(super) fn settle(
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
    let ready = ready.and_then(|()| world.check_routes(held.iter().flat_map(|prepared| &prepared.postings)));
    if let Err(error) = ready {
        world.chords.undo(changes);
        return Err(error);
    }
    for Prepared { records, postings, delivery, .. } in held {
        // The same receipt may stand twice in one batch; the second time it is lost.
        if let Some((receipt, how)) = delivery
            && !world.settle(id, &receipt, how, now, later)
        {
            lost.push(receipt);
            continue;
        }
        for record in records {
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
            let records = &prepared.records;
            let stored = |id: &_| {
                let own = records.iter().rev().find(|record| record.document.task_id == *id);
                own.map(|record| record.document.clone()).or_else(|| results.document(id, now))
            };
            let progress = chords.part_done(&end.part, now, changes, stored)?;
            if let Some((rest, how)) = end.rest_of(progress)? {
                chords.finish(&end.part.group, how, now, changes);
                next.push_back(rest);
            }
        }
    }
    Ok(())
}
