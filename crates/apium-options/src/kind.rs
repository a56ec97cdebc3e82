//! The kinds of values that options of the attribute `#[task]` take.

/// The kind of value that an option of the attribute takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `true` or `false`; the name alone is `true`.
    Flag,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A span of time.
    Time,
    /// A rate limit.
    Rate,
    /// A whole number that fits into a byte, or a word.
    Priority,
    /// Where the body runs.
    Isolation,
    /// A whole number.
    Count,
    /// A whole number, or `none` for no limit.
    Limit,
    /// A factor, `true` (1) or `false`.
    Backoff,
    /// Error types.
    Errors,
    /// An async function.
    Hook,
}

impl ValueKind {
    /// The kind in words, for the reference page and errors.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Flag => "the name alone, `true` or `false`",
            Self::Text => "a text",
            Self::Texts => "a list of texts, `[\"a\", \"b\"]`",
            Self::Time => "seconds (`90`, `1.5`), or a text: `\"250ms\"`, `\"90s\"`, `\"10m\"`, `\"1h30m\"`",
            Self::Rate => "starts per second (`2.5`), or a text: `\"10/s\"`, `\"100/m\"`, `\"5/h\"`; 0 is no limit",
            Self::Priority => "a whole number from 0 to 255, `\"urgent\"` or `\"background\"`",
            Self::Isolation => "`\"process\"` or `\"none\"`",
            Self::Count => "a whole number, 0 or more",
            Self::Limit => "a whole number, or `none` for no limit",
            Self::Backoff => "a factor in whole seconds, `true` (1) or `false`",
            Self::Errors => "error types in parentheses, or `(any)`",
            Self::Hook => "the name of an async function",
        }
    }
}
