//! A server that has lost its data, because it started without them or was emptied. It knows nothing of what is in
//! flight any more, but the consumers still have it: they put it back, so a run that ends now is settled as any other.
//! What waited in the server is gone.
//!
//! To a consumer this looks as if others had taken it for dead and had its messages. It tells the two apart by an id
//! that the first consumer gives the data, and that is lost with them.

use apium_transport::error::Result;

use crate::consumer::in_flight::InFlight;
use crate::consumer::reclaim::reclaim_consumer;
use crate::consumer::registration::register;
use crate::consumer::state::{ConsumerState, fresh_id};
use crate::keys::score::score;
use crate::shared::BrokerShared;

/// How many messages are put back in one step.
const BATCH: usize = 200;

/// The server does not know the consumer `old` any more: registers it under a new id.
pub(crate) async fn register_again(shared: &BrokerShared, state: &ConsumerState, old: &str) -> Result<()> {
    if move_if_data_lost(shared, state, old).await? {
        return Ok(());
    }
    let _one = state.registering.lock().await;
    if *state.id() != *old {
        return Ok(());
    }
    shared.connection.learn_time().await?;
    let id = fresh_id();
    register(shared, state, &id).await?;
    let lost = state.renew_id(id);
    tracing::warn!(lost, "this worker was taken for dead and registers again; others have its messages");
    // Messages may have come under the old id after the others had reclaimed it.
    reclaim_consumer(shared, old, None).await
}

/// If the server has lost its data since the consumer `old` was registered, registers it under a new id and puts back
/// what it has in flight. Returns whether the consumer has another id now.
pub(crate) async fn move_if_data_lost(shared: &BrokerShared, state: &ConsumerState, old: &str) -> Result<bool> {
    const WHAT: &str = "look whether the server has lost its data";
    let _one = state.registering.lock().await;
    if *state.id() != *old {
        return Ok(true);
    }
    let mut command = redis::cmd("GET");
    command.arg(shared.keys.data_id());
    let data_id: Option<String> =
        redis::from_redis_value(shared.connection.command(WHAT, &command).await?).unwrap_or_default();
    if data_id.as_deref() == Some(&*state.data_id()) {
        return Ok(false);
    }
    shared.connection.learn_time().await?;
    let id = fresh_id();
    let data_id = register(shared, state, &id).await?;
    let in_flight = state.move_to_id(id);
    let kept = in_flight.len();
    for batch in in_flight.chunks(BATCH) {
        put_back(shared, batch).await?;
    }
    state.set_data_id(data_id);
    tracing::warn!(
        kept,
        "the server has lost its data: what this worker has in flight is put back, and what waited there is gone"
    );
    Ok(true)
}

async fn put_back(shared: &BrokerShared, batch: &[(String, InFlight)]) -> Result<()> {
    let now = shared.connection.server_now();
    let (mut entries, mut index) = (redis::cmd("HSET"), redis::cmd("ZADD"));
    entries.arg(shared.keys.unacked());
    index.arg(shared.keys.unacked_index());
    for (tag, message) in batch {
        entries.arg(tag).arg([b"[", &*message.raw, message.queue_list.unacked_suffix.as_bytes()].concat());
        index.arg(score(now, message.counts_crash)).arg(tag);
    }
    let mut pipeline = redis::pipe();
    pipeline.atomic().add_command(entries).add_command(index);
    shared.connection.pipeline("put back what is in flight", &pipeline).await.map(drop)
}
