//! Publishing inside a run: one whose message was acked before it began waits for its broker.

use apium_transport::broker::outgoing::Outgoing;

use crate::context::current;
use crate::error::Result;
use crate::publish::policy::PublishPolicy;
use crate::publish::publisher::Publisher;

impl Publisher {
    /// Publishes a batch of calls under a policy. Inside a run whose message was acked before it began, this waits
    /// until the broker is back, since that run is not delivered again; a call with a policy of its own
    /// (`publish_timeout`, `retry`, `retry_policy`) does not.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) async fn publish_calls(&self, batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        let running = current::get().filter(|_| !policy.is_own);
        let waits = running.and_then(|ctx| ctx.wait_for(self));
        let policy = if waits.is_some() { policy.waiting() } else { policy };
        self.publish_under(batch, policy).await
    }
}
