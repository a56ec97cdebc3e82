//! Carrying out a batch of settlements under the lock: all of it or nothing.
//!
//! What may fail comes first: which deliveries are in flight, what follows the parts of chords, whether every message
//! can be routed. Up to here only chords are changed, and these changes can be undone. After that nothing fails any
//! more.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::backend::backend::ResultRecord;
use crate::backend::chord::{ChordEnd, ChordProgress};
use crate::broker::follow_ups::{EndedPart, FollowUps};
use crate::broker::settlement::{Acknowledgement, Receipt, Settlement};
use crate::error::Result;
use crate::memory::store::after_unlock::AfterUnlock;
use crate::memory::store::chords::Changes;
use crate::memory::store::namespace::{Namespace, RoutedMessage};

/// A settlement, with its messages made before the lock is taken.
#[derive(Debug)]
pub(crate) struct PreparedSettlement {
    record: Option<ResultRecord>,
    /// Those of its follow-ups.
    records: Vec<ResultRecord>,
    routed: Vec<RoutedMessage>,
    delivery: Option<(Receipt, Acknowledgement)>,
    follow_ups: Option<Box<FollowUps>>,
}

impl From<Settlement> for PreparedSettlement {
    fn from(settlement: Settlement) -> Self {
        let Settlement { record, publish, delivery, mut follow_ups } = settlement;
        let mut prepared = Self {
            record: record.map(|record| *record),
            records: Vec::new(),
            routed: publish.into_iter().map(RoutedMessage::from).collect(),
            delivery,
            follow_ups: None,
        };
        if let Some(follow_ups) = &mut follow_ups {
            prepared.take_from(follow_ups);
        }
        prepared.follow_ups = follow_ups;
        prepared
    }
}

impl PreparedSettlement {
    /// Moves what is to be stored and published out of `follow_ups`.
    fn take_from(&mut self, follow_ups: &mut FollowUps) {
        self.records.append(&mut follow_ups.records);
        self.routed.extend(std::mem::take(&mut follow_ups.publish).into_iter().map(RoutedMessage::from));
    }
}

/// Settles for the consumer `id`; returns the lost receipts.
pub(crate) fn settle(
    namespace: &mut Namespace,
    id: u64,
    batch: Vec<PreparedSettlement>,
    now: Timestamp,
    after_unlock: &mut AfterUnlock,
) -> Result<Vec<Receipt>> {
    let (mut ours, mut lost) = split(namespace, id, batch);
    let mut changes = Changes::default();
    let mut ready = Ok(());
    for prepared in ours.iter_mut().filter(|prepared| prepared.follow_ups.is_some()) {
        ready = ready.and_then(|()| follow(namespace, prepared, now, &mut changes));
    }
    let ready = ready.and_then(|()| {
        namespace.check_routes(ours.iter().flat_map(|prepared| &prepared.routed).map(RoutedMessage::route))
    });
    if let Err(error) = ready {
        namespace.chords.undo(changes);
        return Err(error);
    }
    for PreparedSettlement { record, records, routed, delivery, .. } in ours {
        // A receipt may be in a batch twice; the second time it is lost.
        if let Some((receipt, how)) = delivery
            && !namespace.settle(id, &receipt, how, now, after_unlock)
        {
            lost.push(receipt);
            continue;
        }
        for record in record.into_iter().chain(records) {
            namespace.results.store(record, now, after_unlock);
        }
        // The routes were checked under this same lock.
        namespace.publish(routed, now, after_unlock)?;
    }
    Ok(lost)
}

/// The settlements of deliveries that the consumer `id` has in flight, and the receipts of the others.
fn split(namespace: &Namespace, id: u64, batch: Vec<PreparedSettlement>) -> (Vec<PreparedSettlement>, Vec<Receipt>) {
    let (mut ours, mut lost): (Vec<PreparedSettlement>, _) = (Vec::with_capacity(batch.len()), Vec::new());
    for prepared in batch {
        let is_lost = |receipt: &Receipt| {
            // Parts are counted before anything is settled, so a receipt that comes twice is found here.
            let twice = || ours.iter().filter_map(|own| own.delivery.as_ref()).any(|(own, _)| own == receipt);
            !namespace.has_in_flight(id, receipt) || (prepared.follow_ups.is_some() && twice())
        };
        match &prepared.delivery {
            Some((receipt, _)) if is_lost(receipt) => lost.push(receipt.clone()),
            _ => ours.push(prepared),
        }
    }
    (ours, lost)
}

/// Opens chords and counts parts. What follows the last part of a chord is added to the settlement.
fn follow(
    namespace: &mut Namespace,
    prepared: &mut PreparedSettlement,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<()> {
    let mut next: VecDeque<FollowUps> = prepared.follow_ups.take().into_iter().map(|follow_ups| *follow_ups).collect();
    while let Some(mut follow_ups) = next.pop_front() {
        prepared.take_from(&mut follow_ups);
        for header in follow_ups.opens {
            namespace.chords.open(header, now, changes);
        }
        for end in follow_ups.parts {
            let Namespace { chords, results, .. } = &mut *namespace;
            let PreparedSettlement { record, records, .. } = &*prepared;
            let stored = |id: &_| {
                let own = records.iter().rev().chain(record).find(|record| record.document.task_id == *id);
                own.map(|record| record.document.clone()).or_else(|| results.document(id, now))
            };
            let progress = chords.part_done(&end.part, now, changes, stored);
            if let Some((follow_ups, how)) = follow_ups_of(namespace, &end, progress)? {
                namespace.chords.end_now(&end.part.group, how, now, changes);
                next.push_back(follow_ups);
            }
        }
    }
    Ok(())
}

/// What follows a part. If it cannot be made or published, what fails the chord.
fn follow_ups_of(
    namespace: &Namespace,
    end: &EndedPart,
    progress: Result<ChordProgress>,
) -> Result<Option<(FollowUps, ChordEnd)>> {
    let progress = match progress {
        Ok(progress) => progress,
        Err(error) => return end.fail_chord("Join error", &error),
    };
    let made = end.follow_ups_of(progress).and_then(|made| {
        let messages = made.iter().flat_map(|(follow_ups, _)| &follow_ups.publish);
        namespace.check_routes(messages.map(|out| (&*out.exchange, &*out.routing_key)))?;
        Ok(made)
    });
    made.or_else(|error| end.fail_chord("Callback error", &error))
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
    use crate::broker::follow_ups::ChordContinuation;
    use crate::broker::outgoing::Outgoing;

    /// Panics in one method or in both.
    struct Panics {
        failed_too: bool,
    }

    impl ChordContinuation for Panics {
        fn complete(&self, _: Vec<Json>) -> FollowUps {
            panic!("a serializer of the user's")
        }

        fn failed(&self, part: FailedPart) -> FollowUps {
            assert!(!self.failed_too, "and another one");
            let publish = vec![Outgoing::to_queue("errbacks", Message::default())];
            assert!(part.exception.as_str().contains("ChordError"), "{}", part.exception.as_str());
            FollowUps { publish, ..FollowUps::default() }
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
        let parts = vec![EndedPart { part, continuation: Arc::new(Panics { failed_too }) }];
        let opens = vec![ChordHeader { group: "g".to_owned(), size: 1, structure: None, ttl: None }];
        let publish = vec![Outgoing::to_queue("next", Message::default())];
        let follow_ups = Some(Box::new(FollowUps { opens, parts, ..FollowUps::default() }));
        Settlement { publish, follow_ups, ..Settlement::default() }
    }

    fn ready(namespace: &Namespace, queue: &str) -> usize {
        namespace.queues.get(queue).map_or(0, |queue| queue.ready())
    }

    #[test]
    fn a_body_that_cannot_be_made_fails_its_chord() {
        let (mut namespace, now) = (Namespace::default(), Timestamp::UNIX_EPOCH);
        let settle = |namespace: &mut Namespace, failed_too| {
            settle(
                namespace,
                1,
                vec![PreparedSettlement::from(last_part(failed_too))],
                now,
                &mut AfterUnlock::default(),
            )
        };
        let error = settle(&mut namespace, true).unwrap_err();
        assert!(error.to_string().starts_with("make what follows the chord g, whose last part is t"), "{error}");
        assert_eq!((ready(&namespace, "next"), ready(&namespace, "errbacks")), (0, 0));
        assert_eq!(namespace.chords.count("g", now), None, "it was opened in the same step");
        assert!(settle(&mut namespace, false).unwrap().is_empty());
        assert_eq!((ready(&namespace, "next"), ready(&namespace, "errbacks")), (1, 1));
        assert!(settle(&mut namespace, true).unwrap().is_empty(), "it is over");
        assert_eq!((ready(&namespace, "next"), ready(&namespace, "errbacks")), (2, 1));
    }
}
