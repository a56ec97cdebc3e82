//! The two sides of every call.

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Rust,
    Python,
}

impl Side {
    /// Both of them.
    pub(crate) const BOTH: [Self; 2] = [Self::Rust, Self::Python];

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Rust => Self::Python,
            Self::Python => Self::Rust,
        }
    }
}
