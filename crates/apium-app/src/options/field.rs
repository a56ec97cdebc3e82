//! The fields of option types: the value of one that is not set, how it is filled from other options, and how a value
//! of a task or a route becomes one of a call.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The type of an option's field.
pub(crate) trait OptionField {
    /// The value of an option that is not set.
    const UNSET: Self;

    /// Takes the value of `other` if this one is not set. Tables are joined, and an entry that is here stays.
    fn fill_from(&mut self, other: &Self);
}

impl<T: Clone> OptionField for Option<T> {
    const UNSET: Self = None;

    fn fill_from(&mut self, other: &Self) {
        if self.is_none() {
            self.clone_from(other);
        }
    }
}

impl<T: Clone + 'static> OptionField for Cow<'static, [T]> {
    const UNSET: Self = Cow::Borrowed(&[]);

    fn fill_from(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        }
    }
}

impl<T: Clone> OptionField for Vec<T> {
    const UNSET: Self = Self::new();

    fn fill_from(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        }
    }
}

impl<K: Clone + Ord, V: Clone> OptionField for BTreeMap<K, V> {
    const UNSET: Self = Self::new();

    fn fill_from(&mut self, other: &Self) {
        for (name, value) in other {
            self.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// A value of a task or a route that a call holds as a `T`.
pub(crate) trait IntoCallOption<T> {
    /// The value for the call.
    fn into_call_option(self) -> T;
}

impl<T> IntoCallOption<T> for T {
    fn into_call_option(self) -> T {
        self
    }
}

impl IntoCallOption<Arc<str>> for String {
    fn into_call_option(self) -> Arc<str> {
        self.into()
    }
}

impl IntoCallOption<Cow<'static, str>> for String {
    fn into_call_option(self) -> Cow<'static, str> {
        self.into()
    }
}

impl IntoCallOption<Arc<str>> for Cow<'static, str> {
    fn into_call_option(self) -> Arc<str> {
        self.into()
    }
}

impl IntoCallOption<f64> for Duration {
    fn into_call_option(self) -> f64 {
        self.as_secs_f64()
    }
}
