//! Recounts, for the parts of chords that early-ack runs are: their delivery was acked before the run.
//!
//! If such a part were counted as the last one and its worker died before the body was sent, nobody would send the
//! body. So it takes three calls of the script:
//!
//! 1. The script skips the whole settlement if one of its parts may be the last one of its chord.
//! 2. The script does all of the settlement. For a part that is the last one it also puts a recount message
//!    ([`EndedPart::recount_message`]) in flight at this consumer.
//! 3. From then on the part has a delivery like any other. The script sends the body and acks the recount message.
//!
//! If this worker dies or loses its connection before the third call, another consumer reclaims the recount message as
//! it reclaims every delivery, and the part is counted once more.
//!
//! [`EndedPart::recount_message`]: apium_transport::broker::follow_ups::EndedPart::recount_message

use std::sync::Arc;

use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Receipt};
use apium_transport::error::Result;

use crate::consumer::in_flight::{InFlight, server_tag};
use crate::consumer::state::ConsumerState;
use crate::keys::broker_keys::QueueList;
use crate::scripts::operation::PublishTarget;
use crate::settle::follow_ups::{LastPart, PreparedFollowUps, RecountMessage};
use crate::settle::prepared::{PreparedSettlement, requeue};
use crate::shared::BrokerShared;

/// The recount messages of one call of `settle`: consumer id and number. Those that are left when it is dropped may be
/// in flight in the server or not, so the maintenance loop looks for them.
#[derive(Debug)]
pub(crate) struct Recounts<'a> {
    state: &'a ConsumerState,
    messages: Vec<(Arc<str>, u64)>,
}

impl<'a> Recounts<'a> {
    pub(crate) fn new(state: &'a ConsumerState) -> Self {
        Self { state, messages: Vec::new() }
    }

    /// Whether a recount message has this number.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.messages.iter().any(|(_, own)| *own == number)
    }

    /// Forgets the recount messages: all of them are settled, or in flight at another consumer.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }

    /// Makes the recount messages of settlements that may complete chords. A settlement gets none if one of its parts
    /// cannot be recounted.
    pub(crate) async fn make_all(
        &mut self,
        shared: &Arc<BrokerShared>,
        mut settlements: Vec<PreparedSettlement>,
    ) -> Result<Vec<PreparedSettlement>> {
        for settlement in &mut settlements {
            let mut recounts = Vec::new();
            for part in settlement.follow_ups.iter().flat_map(|follow_ups| follow_ups.parts()) {
                let Some(outgoing) = part.recount_message(None) else {
                    recounts.clear();
                    break;
                };
                recounts.push(self.make(shared, outgoing).await?);
            }
            settlement.recounts = Some(recounts);
        }
        Ok(settlements)
    }

    async fn make(&mut self, shared: &Arc<BrokerShared>, outgoing: Outgoing) -> Result<RecountMessage> {
        let (queue, priority) = (outgoing.routing_key.clone(), outgoing.message.properties.priority.unwrap_or(0));
        let queue_list = QueueList::new(&shared.keys, &queue, shared.keys.step(priority));
        let envelope = shared.bound_targets(vec![outgoing]).await?.into_iter().find_map(|target| match target {
            PublishTarget::List { envelope, .. } | PublishTarget::Delayed { envelope, .. } => Some(envelope),
            PublishTarget::Channel { .. } => None,
        });
        let raw = envelope.unwrap_or_default();
        let now = shared.connection.clock().now().as_microsecond();
        let (number, id) = self.state.next_number(u64::try_from(now).unwrap_or(0));
        self.messages.push((id.clone(), number));
        let entry = [b"[", &*raw, queue_list.unacked_suffix.as_bytes()].concat();
        let in_flight = InFlight {
            tag: number.to_string().into(),
            queue_list: Arc::new(queue_list),
            raw: raw.into(),
            redelivered: false,
            started: false,
            counts_crash: false,
            unanswered: false,
            settling: false,
        };
        Ok(RecountMessage { tag: server_tag(&id, number), id, number, entry, in_flight })
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

/// Settlements for the chords that `settlement`, which is done, has completed. The delivery of each is its recount
/// message.
pub(crate) async fn recounted(
    shared: &BrokerShared,
    state: &ConsumerState,
    settlement: PreparedSettlement,
    last: Vec<LastPart>,
) -> Result<Vec<(PreparedSettlement, LastPart)>> {
    let (Some(follow_ups), Some(recounts)) = (settlement.follow_ups, settlement.recounts) else {
        return Ok(Vec::new());
    };
    let mut settlements = Vec::with_capacity(last.len());
    for (position, follow_ups, last) in follow_ups.into_parts(last) {
        let Some(RecountMessage { id, number, in_flight, .. }) = recounts.get(position) else { continue };
        let receipt = ConsumerState::receipt(*number, in_flight);
        match state.add_in_flight(id, vec![(*number, in_flight.clone())]) {
            Ok(()) => settlements.push((of_message(receipt, follow_ups), last)),
            // This id was taken for dead or closed meanwhile.
            Err(deliveries) => requeue(shared, id, deliveries).await?,
        }
    }
    Ok(settlements)
}

fn of_message(receipt: Receipt, follow_ups: PreparedFollowUps) -> PreparedSettlement {
    let settlement = PreparedSettlement::of_delivery(receipt, Acknowledgement::Ack);
    PreparedSettlement { follow_ups: Some(Box::new(follow_ups)), ..settlement }
}
