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

use crate::consumer::state::{ConsumerState, InFlight, server_tag};
use crate::keys::queue_list::QueueList;
use crate::scripts::route::PublishTarget;
use crate::settle::follow_ups::{LastPart, PreparedFollowUps};
use crate::settle::recount_message::RecountMessage;
use crate::settle::settle::{PreparedSettlement, requeue};
use crate::shared::BrokerShared;

/// The notes of one settlement. What is left of them when it is dropped is given back by the attendant: whether it stands in the
/// server may not be known.
#[derive(Debug)]
pub(crate) struct Recounts<'a> {
    state: &'a ConsumerState,
    messages: Vec<(Arc<str>, u64)>,
}

impl<'a> Recounts<'a> {
    pub(crate) fn new(seat: &'a ConsumerState) -> Self {
        Self { state: seat, messages: Vec::new() }
    }

    /// Whether it is the number of a note.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.messages.iter().any(|(_, own)| *own == number)
    }

    /// All of them are settled, or somebody else's.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }

    /// Makes the notes of ends that may complete chords. An end one of whose parts has no message for it gets none.
    pub(crate) async fn make_all(
        &mut self,
        core: &Arc<BrokerShared>,
        mut ends: Vec<PreparedSettlement>,
    ) -> Result<Vec<PreparedSettlement>> {
        for end in &mut ends {
            let mut notes = Vec::new();
            for part in end.follow_ups.iter().flat_map(|following| following.parts()) {
                let Some(outgoing) = part.recount_message(None) else {
                    notes.clear();
                    break;
                };
                notes.push(self.make(core, outgoing).await?);
            }
            end.recounts = Some(notes);
        }
        Ok(ends)
    }

    async fn make(&mut self, core: &Arc<BrokerShared>, outgoing: Outgoing) -> Result<RecountMessage> {
        let (queue, priority) = (outgoing.routing_key.clone(), outgoing.message.properties.priority.unwrap_or(0));
        let source = QueueList::new(&core.keys, &queue, core.keys.step(priority));
        let envelope = core.bound_targets(vec![outgoing]).await?.into_iter().find_map(|route| match route {
            PublishTarget::List { envelope, .. } | PublishTarget::Delayed { envelope, .. } => Some(envelope),
            PublishTarget::Channel { .. } => None,
        });
        let raw = envelope.unwrap_or_default();
        let (number, id) =
            self.state.next_number(u64::try_from(core.connection.clock().now().as_microsecond()).unwrap_or(0));
        self.messages.push((id.clone(), number));
        let entry = [b"[", &*raw, source.unacked_suffix.as_bytes()].concat();
        let held = InFlight {
            tag: number.to_string().into(),
            queue_list: Arc::new(source),
            raw: raw.into(),
            redelivered: false,
            started: false,
            unanswered: false,
            settling: false,
        };
        Ok(RecountMessage { tag: server_tag(&id, number), id, number, entry, in_flight: held })
    }
}

impl Drop for Recounts<'_> {
    fn drop(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        self.state.remove(self.messages.iter().map(|(_, number)| *number));
        for (id, number) in self.messages.drain(..) {
            self.state.lost_replies().add_claim(id, number, 1, self.state.lost_reply_window());
        }
        self.state.suspected.notify_one();
    }
}

/// The ends of the chords that `end`, which is done, has completed: each with its note as its delivery.
pub(crate) async fn recounted(
    core: &BrokerShared,
    seat: &ConsumerState,
    end: PreparedSettlement,
    last: Vec<LastPart>,
) -> Result<Vec<(PreparedSettlement, LastPart)>> {
    let (Some(following), Some(notes)) = (end.follow_ups, end.recounts) else { return Ok(Vec::new()) };
    let mut ends = Vec::with_capacity(last.len());
    for (place, following, last) in following.into_parts(last) {
        let Some(RecountMessage { id, number, in_flight: held, .. }) = notes.get(place) else { continue };
        let receipt = ConsumerState::receipt(*number, held);
        match seat.add_in_flight(id, vec![(*number, held.clone())]) {
            Ok(()) => ends.push((of_message(receipt, following), last)),
            // Noted under a name that others count as dead, or that is closed.
            Err(held) => requeue(core, id, held).await?,
        }
    }
    Ok(ends)
}

fn of_message(receipt: Receipt, following: PreparedFollowUps) -> PreparedSettlement {
    PreparedSettlement {
        delivery: Some((receipt, Acknowledgement::Ack)),
        follow_ups: Some(Box::new(following)),
        ..PreparedSettlement::default()
    }
}
