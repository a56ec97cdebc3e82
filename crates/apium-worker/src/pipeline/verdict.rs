//! What is to be done about the end of a run: decided in [`settle`](crate::pipeline::settle), done by the
//! [`completer`](crate::pipeline::completer).

use apium_app::context::result_document::ResultUpdate;
use apium_app::failure::Failure;
use apium_app::retry::policy::NextRun;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use apium_transport::broker::settlement::Acknowledgement;

/// What is to be done about the end of a run.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The state to store, if any.
    pub(crate) store: Option<ResultUpdate>,
    /// The next run to publish, for a retry.
    pub(crate) again: Option<NextRun>,
    /// What becomes of the delivery, when it was not acked before the run.
    pub(crate) settle: Acknowledgement,
    /// What hooks and logs are told.
    pub(crate) ending: Ended,
}

/// How a run ended, as hooks and logs see it.
#[derive(Debug)]
pub(crate) enum Ended {
    /// SUCCESS with this value.
    Success(Json),
    /// FAILURE.
    Failure {
        failure: Failure,
        /// Whether the task declares it in `throws`.
        expected: bool,
    },
    /// It runs again; with the error behind it.
    Retry(Option<Failure>),
    /// The task rejected its message.
    Rejected { reason: String, requeue: bool },
    /// Nothing was stored.
    Ignored,
    /// Another signature goes on in its place.
    Replaced(Box<Signature>),
    /// It did not run: `expired`.
    Revoked(&'static str),
    /// The worker stopped while it ran; `requeued` when the message is back in its queue.
    Cancelled { requeued: bool },
}
