//! Options of a task as declared, all of them optional. [`effective_options`](crate::options::effective_options) says
//! what they come to.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use crate::failure::Failure;
use crate::options::field::OptionField;

/// Tells whether an error is of a certain type; made by the macro from a type's name.
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

    /// Matches every failure, also one without a Rust error behind it (Celery: `(Exception,)`).
    pub const ANY: Self = Self { name: "any", kind: Kind::Any };

    /// The type as written, for listings.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the failure is of that type.
    pub fn matches(&self, failure: &Failure) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Type(is) => failure.any_source(is),
        }
    }
}

/// How automatic retries are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// They are not: each waits for `default_retry_delay` where that is named, else not at all.
    Off,
    /// `factor · 2^retries` seconds.
    Exponential(u32),
}

macro_rules! task_options {
    ({ $($name:ident [$($doc:tt)+] ($type:ty);)+ }) => {
        /// Options of a task as declared. What is `None`, or an empty list, is left to the settings, then to the
        /// default.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct TaskOptions {
            $( #[doc = concat!($($doc)+)] pub $name: $type, )+
        }

        impl TaskOptions {
            /// No option given.
            pub const NEW: Self = Self { $( $name: <$type as OptionField>::UNSET, )+ };

            /// These options with those that `other` gives laid over (`task_annotations` over the attribute). A list
            /// replaces a list.
            #[must_use]
            pub fn overlay(self, other: Self) -> Self {
                let mut both = other;
                $( both.$name.fill_from(&self.$name); )+
                both
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
    fn a_matcher_looks_at_the_error_and_its_sources() {
        let failure = Failure::from_error(Outer("x".parse::<u8>().unwrap_err()));
        assert!(ErrorMatcher::of::<Outer>("Outer").matches(&failure));
        assert!(ErrorMatcher::of::<std::num::ParseIntError>("ParseIntError").matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
        assert!(ErrorMatcher::ANY.matches(&failure));
    }

    #[test]
    fn a_failure_without_an_error_is_matched_by_any_alone() {
        let failure = Failure::message("no type");
        assert!(ErrorMatcher::ANY.matches(&failure));
        assert!(!ErrorMatcher::of::<fmt::Error>("fmt::Error").matches(&failure));
    }

    #[test]
    fn what_is_laid_over_wins_and_the_rest_stays() {
        let below = TaskOptions { acks_late: Some(true), priority: Some(3), ..TaskOptions::NEW };
        let above = TaskOptions { priority: Some(6), max_retries: Some(None), ..TaskOptions::NEW };
        let both = below.overlay(above);
        assert_eq!((both.acks_late, both.priority, both.max_retries), (Some(true), Some(6), Some(None)));
    }
}
