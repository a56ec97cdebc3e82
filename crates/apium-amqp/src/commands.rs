//! Commands that are no publishes: declarations, counts, deletions. They go one after the other over a channel of their
//! own, since an error closes its channel.

use std::sync::Arc;

use apium_transport::error::Result;
use tokio::sync::MutexGuard;

use crate::connection::link::Live;
use crate::connection::live_channel::LiveChannel;
use crate::shared::BrokerShared;

/// The channel of the commands, while one caller has it.
pub(crate) struct Commands<'a> {
    live: Arc<Live>,
    slot: MutexGuard<'a, Option<LiveChannel>>,
}

impl BrokerShared {
    /// The channel of the commands, for this caller alone.
    pub(crate) async fn commands(&self, what: &str) -> Result<Commands<'_>> {
        let slot = self.command_channel.lock().await;
        let live = self.consuming.get(what).await?;
        self.declared.of_epoch(live.epoch);
        Ok(Commands { live, slot })
    }
}

impl Commands<'_> {
    /// An open channel. The one before may have been closed by an error.
    pub(crate) async fn channel(&mut self, what: &str) -> Result<LiveChannel> {
        if let Some(channel) = &*self.slot
            && channel.live().epoch == self.live.epoch
            && channel.is_open()
        {
            return Ok(channel.clone());
        }
        let channel = self.live.channel(what).await?;
        *self.slot = Some(channel.clone());
        Ok(channel)
    }
}
