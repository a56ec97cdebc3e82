//! Messages that take the place of a delivery: in the dead set, or in the queues of delays.

use apium_transport::broker::settlement::Disposition;
use apium_transport::error::Result;

use crate::consumer::state::InFlight;
use crate::publish::delayed::{Delay, target_of_queue};
use crate::publish::properties::{CRASHES_HEADER, as_copy, kept, own_headers};
use crate::publish::publish::waiting;
use crate::publish::publisher::Ready;
use crate::publish::table::{int, short};
use crate::settle::dead_letter;
use crate::shared::BrokerShared;

/// The message that takes the place of a delivery.
pub(crate) async fn sent_on(shared: &BrokerShared, delivery: &InFlight, how: &Disposition) -> Result<Ready> {
    let (properties, body) = (&delivery.carried.properties, delivery.carried.body.clone());
    let delay = match how {
        Disposition::Dead(reason) => {
            dead_letter::ensure_queue(shared).await?;
            return dead_letter::ready(&shared.clock, &delivery.queue, properties, body, reason);
        }
        Disposition::Delay(until) => Delay::until(shared.clock.now(), *until),
        Disposition::Requeue | Disposition::Discard => None,
    };
    let mut own = own_headers(properties);
    if delivery.crashes > 0 {
        // It comes as new, so nobody would look for them.
        own.get_or_insert_default().insert(CRASHES_HEADER.into(), int(delivery.crashes.into()));
    }
    // It has the key of the message that is settled for it, and must not be taken for that one.
    let properties = as_copy(&shared.clock, kept(properties, own));
    if let Some(delay) = delay {
        shared.ensure_delayed(&delivery.queue).await?;
        return waiting(delay, &target_of_queue(&delivery.queue), properties, body);
    }
    let routing_key = short("name of a queue", &delivery.queue)?;
    Ok(Ready { exchange: "".into(), routing_key, properties, body, mandatory: true })
}
