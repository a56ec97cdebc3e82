//! How a connection to a broker or a result backend is, as far as it is known without asking it.

use jiff::Timestamp;

/// Whether what lies behind a connection can be reached. It can or it cannot: there will be no third state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can, as far as is known.
    Green,
    /// It cannot.
    Red {
        /// Since when.
        since: Timestamp,
        /// Why, without secrets; lower case, no final stop.
        reason: String,
    },
}

impl Health {
    /// Whether it can be reached.
    pub fn is_green(&self) -> bool {
        *self == Self::Green
    }

    /// The same health with `whose` before its reason.
    #[must_use]
    pub fn of(self, whose: &str) -> Self {
        match self {
            Self::Green => Self::Green,
            Self::Red { since, reason } => Self::Red { since, reason: format!("{whose}: {reason}") },
        }
    }
}
