//! The parts of chords that have no delivery which would come again: their messages were acked before they ran.
//!
//! Such a part must not be counted as the last one and then be forgotten with its worker, before the body is sent. So the first
//! call of the script leaves its whole end out when one of its parts may be the last one. The second call does all of the end, and
//! with a part that is the last one it notes a message that counts it once more ([`Rest::again`]), as a delivery of this consumer.
//! From there on it is a part with a delivery like any other: the third call sends the body and acks that message, and whoever dies
//! before it, closes or loses its connection leaves the message to the others, who find it as they find every delivery.
//!
//! [`Rest::again`]: apium_transport::broker::follow_ups::Rest::again

use std::sync::Arc;

use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Receipt};
use apium_transport::error::Result;

use crate::consumer::state::{Held, Seat, server_tag};
use crate::keys::queue_list::Source;
use crate::scripts::route::Route;
use crate::settle::follow_ups::{Following, Last};
use crate::settle::recount_message::Note;
use crate::settle::settle::{End, give_back};
use crate::shared::Core;

/// The notes of one settlement. What is left of them when it is dropped is given back by the attendant: whether it stands in the
/// server may not be known.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    seat: &'a Seat,
    notes: Vec<(Arc<str>, u64)>,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(seat: &'a Seat) -> Self {
        Self { seat, notes: Vec::new() }
    }

    /// Whether it is the number of a note.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.notes.iter().any(|(_, own)| *own == number)
    }

    /// All of them are settled, or somebody else's.
    pub(crate) fn done(&mut self) {
        self.notes.clear();
    }

    /// Makes the notes of ends that may complete chords. An end one of whose parts has no message for it gets none.
    pub(crate) async fn note(&mut self, core: &Arc<Core>, mut ends: Vec<End>) -> Result<Vec<End>> {
        for end in &mut ends {
            let mut notes = Vec::new();
            for part in end.following.iter().flat_map(|following| following.parts()) {
                let Some(outgoing) = part.recount_message(None) else {
                    notes.clear();
                    break;
                };
                notes.push(self.make(core, outgoing).await?);
            }
            end.notes = Some(notes);
        }
        Ok(ends)
    }

    async fn make(&mut self, core: &Arc<Core>, outgoing: Outgoing) -> Result<Note> {
        let (queue, priority) = (outgoing.routing_key.clone(), outgoing.message.properties.priority.unwrap_or(0));
        let source = Source::new(&core.keys, &queue, core.keys.step(priority));
        let envelope = core.route(vec![outgoing]).await?.into_iter().find_map(|route| match route {
            Route::List { envelope, .. } | Route::Parked { envelope, .. } => Some(envelope),
            Route::Channel { .. } => None,
        });
        let raw = envelope.unwrap_or_default();
        let (number, id) = self.seat.number(u64::try_from(core.link.clock().now().as_microsecond()).unwrap_or(0));
        self.notes.push((id.clone(), number));
        let entry = [b"[", &*raw, source.suffix.as_bytes()].concat();
        let held = Held {
            tag: number.to_string().into(),
            source: Arc::new(source),
            raw: raw.into(),
            redelivered: false,
            begun: false,
            doubtful: false,
            settling: false,
        };
        Ok(Note { tag: server_tag(&id, number), id, number, entry, held })
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        self.seat.settled(self.notes.iter().map(|(_, number)| *number));
        for (id, number) in self.notes.drain(..) {
            self.seat.unsure().claim(id, number, 1, self.seat.patience());
        }
        self.seat.doubted.notify_one();
    }
}

/// The ends of the chords that `end`, which is done, has completed: each with its note as its delivery.
pub(crate) async fn noted(core: &Core, seat: &Seat, end: End, last: Vec<Last>) -> Result<Vec<(End, Last)>> {
    let (Some(following), Some(notes)) = (end.following, end.notes) else { return Ok(Vec::new()) };
    let mut ends = Vec::with_capacity(last.len());
    for (place, following, last) in following.taken_apart(last) {
        let Some(Note { id, number, held, .. }) = notes.get(place) else { continue };
        let receipt = Seat::receipt(*number, held);
        match seat.enter(id, vec![(*number, held.clone())]) {
            Ok(()) => ends.push((of_note(receipt, following), last)),
            // Noted under a name that others count as dead, or that is closed.
            Err(held) => give_back(core, id, held).await?,
        }
    }
    Ok(ends)
}

fn of_note(receipt: Receipt, following: Following) -> End {
    End { delivery: Some((receipt, Acknowledgement::Ack)), following: Some(Box::new(following)), ..End::default() }
}
