//! The options of a task as it declares them. [`effective_options`](crate::options::effective_options) combines them
//! with the settings and the defaults.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use crate::failure::Failure;
use crate::options::field::OptionField;
use crate::options::priority::Priority;

/// Tells whether a failure comes from a certain error type. `#[task]` makes it from the name of a type.
#[derive(Debug, Clone, Copy)]
pub struct ErrorMatcher {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Type(fn(&(dyn StdError + 'static)) -> bool),
}

impl ErrorMatcher {
    /// Matches failures that come from an error of type `E`, or from an error that has one as its source.
    pub const fn of<E: StdError + 'static>(name: &'static str) -> Self {
        Self { name, kind: Kind::Type(|error| error.is::<E>()) }
    }

    /// Matches every failure, also one without a Rust error as its source (Celery: `(Exception,)`).
    pub const ANY: Self = Self { name: "any", kind: Kind::Any };

    /// The name of the type as the attribute has it, for lists.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the failure comes from an error of that type.
    pub fn matches(&self, failure: &Failure) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Type(is) => failure.any_source(is),
        }
    }
}

/// How the delay of automatic retries grows (Celery: `retry_backoff`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// It does not: each waits for `default_retry_delay` if that is set, else not at all.
    Off,
    /// It is this factor times 2^retries seconds.
    Exponential(u32),
}

/// Where the body of a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// In the pool of its worker.
    None,
    /// In a child process of its worker.
    Process,
}

impl Isolation {
    /// What this word means.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "process" => Some(Self::Process),
            _ => None,
        }
    }
}

macro_rules! task_options {
    ({ $($name:ident [$($doc:tt)+] ($type:ty);)+ }) => {
        /// The options of a task as it declares them. Where one is `None` or an empty list, the setting counts, else
        /// the default.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct TaskOptions {
            $( #[doc = concat!($($doc)+)] pub $name: $type, )+
        }

        impl TaskOptions {
            /// Options of which none is set.
            pub const NEW: Self = Self { $( $name: <$type as OptionField>::UNSET, )+ };

            /// These options, replaced by those that `other` has: `task_annotations` over the attribute. A list
            /// replaces a list.
            #[must_use]
            pub fn overlay(self, other: Self) -> Self {
                let mut overlaid = other;
                $( overlaid.$name.fill_from(&self.$name); )+
                overlaid
            }
        }
    };
}
apium_options::options! { task => task_options }

impl Default for TaskOptions {
    fn default() -> Self {
        Self::NEW
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::{ErrorMatcher, TaskOptions};
    use crate::failure::Failure;
    use crate::options::priority::Priority;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_matcher_reads_the_error_and_its_sources() {
        let failure = Failure::from_error(Outer("x".parse::<u8>().unwrap_err()));
        assert!(ErrorMatcher::of::<Outer>("Outer").matches(&failure));
        assert!(ErrorMatcher::of::<std::num::ParseIntError>("ParseIntError").matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
        assert!(ErrorMatcher::ANY.matches(&failure));
    }

    #[test]
    fn only_any_matches_a_failure_without_an_error() {
        let failure = Failure::message("no type");
        assert!(ErrorMatcher::ANY.matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
    }

    #[test]
    fn an_overlay_replaces_what_it_has_and_the_others_stay() {
        let below = TaskOptions { acks_late: Some(true), priority: Some(3.into()), ..TaskOptions::NEW };
        let above = TaskOptions { priority: Some(6.into()), max_retries: Some(None), ..TaskOptions::NEW };
        let both = below.overlay(above);
        assert_eq!(
            (both.acks_late, both.priority, both.max_retries),
            (Some(true), Some(Priority::Number(6)), Some(None))
        );
    }
}
