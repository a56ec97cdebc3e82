//! How large the measured sizes are.

/// How large the measured sizes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A run takes minutes.
    Small,
    /// The sizes of the page.
    Full,
}

impl Size {
    /// One value for each size.
    pub fn choose<T>(self, small: T, full: T) -> T {
        match self {
            Self::Small => small,
            Self::Full => full,
        }
    }
}
