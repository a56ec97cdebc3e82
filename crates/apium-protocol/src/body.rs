//! The decoded body of a task message: arguments and what follows the task.

use std::collections::BTreeMap;

use crate::json::Json;
use crate::signature::Signature;

/// Arguments and follow-ups.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// Positional arguments.
    pub args: Vec<Json>,
    /// Keyword arguments in the order given.
    pub kwargs: Vec<(String, Json)>,
    /// What follows the task.
    pub embed: Embed,
}

/// What follows a task: Celery's `embed` map.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embed {
    /// Run on success with the return value prepended (`link`).
    pub callbacks: Option<Vec<Signature>>,
    /// Run on failure (`link_error`).
    pub errbacks: Option<Vec<Signature>>,
    /// The rest of the chain, reversed: the next step is the last element.
    pub chain: Option<Vec<Signature>>,
    /// The chord's body, on every member of its header.
    pub chord: Option<Box<Signature>>,
    /// Unknown keys, kept and echoed.
    pub extra: BTreeMap<String, Json>,
}

impl Embed {
    /// Whether anything is to be run after the task.
    pub fn has_follow_ups(&self) -> bool {
        let filled = |list: &Option<Vec<Signature>>| list.as_ref().is_some_and(|l| !l.is_empty());
        filled(&self.callbacks) || filled(&self.errbacks) || filled(&self.chain) || self.chord.is_some()
    }
}
