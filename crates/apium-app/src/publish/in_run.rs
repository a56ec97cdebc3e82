//! What publishing has to do with runs: a message passes the layers with the request of the task that it comes from,
//! and a run whose message was acked before it began waits for its broker and its store.

use apium_transport::broker::outgoing::Outgoing;

use crate::context::current;
use crate::context::request::Request;
use crate::context::store_waits::StoreWait;
use crate::error::Result;
use crate::observe::trace_context;
use crate::publish::layer;
use crate::publish::policy::PublishPolicy;
use crate::publish::publisher::Publisher;

impl Publisher {
    /// Publishes a batch of calls under a policy. Inside a run whose message was acked before it began, this waits
    /// until the broker is back, since that run is not delivered again; a call with a policy of its own
    /// (`publish_timeout`, `retry`, `retry_policy`) does not.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) async fn publish_calls(&self, mut batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        self.pass_layers(&mut batch)?;
        self.publish_passed_calls(batch, policy).await
    }

    /// As [`publish_calls`](Self::publish_calls), for messages that have passed the layers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(crate) async fn publish_passed_calls(&self, batch: Vec<Outgoing>, policy: PublishPolicy) -> Result<()> {
        let (policy, _waits) = self.policy_in_run(policy);
        self.publish_passed(batch, policy).await
    }

    /// How something is tried that would be tried under `policy` outside of a run. A run whose message was acked before
    /// it began waits until broker or store is back, and says so until what this returns is dropped.
    pub(crate) fn policy_in_run(&self, policy: PublishPolicy) -> (PublishPolicy, Option<StoreWait>) {
        let running = current::get().filter(|_| !policy.is_own);
        let waits = running.and_then(|ctx| ctx.wait_for(self));
        (if waits.is_some() { policy.waiting() } else { policy }, waits)
    }

    /// Passes what a program, or the running task, is about to send through the layers.
    ///
    /// # Errors
    /// `ErrorKind::Publish` when a layer refuses a message.
    pub(crate) fn pass_layers(&self, batch: &mut [Outgoing]) -> Result<()> {
        if self.layers().is_empty() {
            return Ok(());
        }
        let running = current::get();
        self.pass_layers_after(batch, running.as_ref().map(|ctx| ctx.request()))
    }

    /// Passes messages that follow a run of `parent` through the layers. A worker publishes them.
    ///
    /// # Errors
    /// As [`pass_layers`](Self::pass_layers).
    #[doc(hidden)]
    pub fn pass_layers_after(&self, batch: &mut [Outgoing], parent: Option<&Request>) -> Result<()> {
        if let Some(parent) = parent {
            batch.iter_mut().for_each(|out| trace_context::inherit(&mut out.message.headers, &parent.headers));
        }
        if self.layers().is_empty() {
            return Ok(());
        }
        batch.iter_mut().try_for_each(|message| layer::pass(self.layers(), message, parent))
    }
}
