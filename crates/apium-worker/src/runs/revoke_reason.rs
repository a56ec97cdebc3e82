//! Why a task is REVOKED.

use crate::runs::terminate_signal::TerminateSignal;

/// Why a task is REVOKED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RevokeReason {
    /// `expires` had passed before the run could begin.
    Expired,
    /// Somebody revoked it before the run could begin.
    Revoked,
    /// Somebody terminated its run.
    Terminated(TerminateSignal),
}

impl RevokeReason {
    /// The reason, as Celery writes it into `TaskRevokedError`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Terminated(_) => "terminated",
        }
    }
}
