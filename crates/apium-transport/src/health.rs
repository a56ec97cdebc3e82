//! Whether brokers and result backends can be reached, as far as it is known without I/O.

use jiff::Timestamp;

/// Whether a broker, a backend or a worker works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does, as far as is known.
    Green,
    /// It does not.
    Red {
        /// Since when.
        since: Timestamp,
        /// Why. Without secrets, in lower case, without a final stop.
        reason: String,
    },
}

impl Health {
    /// Whether it is green.
    pub fn is_green(&self) -> bool {
        *self == Self::Green
    }

    /// The same health, with `whose` health it is before the reason.
    #[must_use]
    pub fn of(self, whose: &str) -> Self {
        match self {
            Self::Green => Self::Green,
            Self::Red { since, reason } => Self::Red { since, reason: format!("{whose}: {reason}") },
        }
    }
}
