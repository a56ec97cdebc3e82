//! The priority of a call: a number, or the end of the broker's scale that it means.

use std::fmt;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;
use apium_transport::broker::broker::PriorityOrder;

use crate::error::Result;

/// The priority of a call.
///
/// Brokers count in different directions: on Redis 0 is delivered first, elsewhere last. The words mean the same on
/// each. A message has only numbers: the number of a word is chosen when the message is made, by the broker that gets
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// This number, whatever it means to the broker.
    Number(u8),
    /// Before all others.
    Urgent,
    /// After all others.
    Background,
}

impl Priority {
    /// The number for a broker of this order.
    pub fn number(self, order: PriorityOrder) -> u8 {
        match self {
            Self::Number(number) => number,
            Self::Urgent => order.first(),
            Self::Background => order.last(),
        }
    }

    /// The priority of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            URGENT => Some(Self::Urgent),
            BACKGROUND => Some(Self::Background),
            _ => None,
        }
    }
}

const URGENT: &str = "urgent";
const BACKGROUND: &str = "background";

impl From<u8> for Priority {
    fn from(number: u8) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Urgent => f.write_str(URGENT),
            Self::Background => f.write_str(BACKGROUND),
        }
    }
}

/// The word that a JSON text is.
pub(crate) fn word_of(json: &Json) -> Option<Priority> {
    Priority::of_word(json.as_str().strip_prefix('"')?.strip_suffix('"')?)
}

/// Writes the numbers of a broker for the words in a signature and in all signatures inside it. Without words nothing
/// is copied.
///
/// # Errors
/// A signature inside it that cannot be read.
pub(crate) fn write_numbers(signature: &mut WireSignature, order: PriorityOrder) -> Result<()> {
    if let Some(priority) = signature.options.get_mut(PRIORITY)
        && let Some(word) = word_of(priority)
    {
        *priority = Json::from_serialize(&word.number(order))?;
    }
    for name in SIGNATURES_OF_OPTIONS {
        signature.options.get_mut(*name).into_iter().try_for_each(|inner| write_inside(inner, order))?;
    }
    // Only workflows have signatures in their arguments.
    if signature.subtask_type.is_some() {
        for (_, inner) in signature.kwargs.iter_mut().filter(|(name, _)| SIGNATURES_OF_WORKFLOWS.contains(&&**name)) {
            write_inside(inner, order)?;
        }
    }
    Ok(())
}

/// Writes the numbers of a broker for the words in steps. A step without one keeps its text.
///
/// # Errors
/// A step that cannot be read and may have a word.
pub(crate) fn write_numbers_behind(steps: &mut StepsBehind, order: PriorityOrder) -> Result<()> {
    if !has_a_word(steps.as_str()) {
        return Ok(());
    }
    let mut texts = steps.texts();
    texts.iter_mut().try_for_each(|text| write_inside(text, order))?;
    *steps = StepsBehind::from_json(&Json::from_serialize(&texts)?.into_bytes())?;
    Ok(())
}

/// Whether there is a word in a signature, or may be one inside it.
pub(crate) fn may_have_words(signature: &WireSignature) -> bool {
    let options = &signature.options;
    options.get(PRIORITY).is_some_and(|priority| word_of(priority).is_some())
        || SIGNATURES_OF_OPTIONS.iter().filter_map(|name| options.get(*name)).any(names_a_word)
        || signature.subtask_type.is_some() && signature.kwargs.iter().any(|(_, inner)| names_a_word(inner))
}

const PRIORITY: &str = "priority";

/// The options that are signatures, or lists of them.
const SIGNATURES_OF_OPTIONS: &[&str] = &["link", "link_error", "chain", "chord"];

/// The arguments of workflows that are signatures, or lists of them.
const SIGNATURES_OF_WORKFLOWS: &[&str] = &["tasks", "header", "body", "task"];

fn names_a_word(json: &Json) -> bool {
    has_a_word(json.as_str())
}

fn has_a_word(text: &str) -> bool {
    [URGENT, BACKGROUND].iter().any(|word| text.contains(word))
}

/// Writes the numbers into JSON that is a signature or a list of signatures.
fn write_inside(json: &mut Json, order: PriorityOrder) -> Result<()> {
    if !names_a_word(json) {
        return Ok(());
    }
    if json.as_str().starts_with('[') {
        let mut list: Vec<WireSignature> = json.decode()?;
        list.iter_mut().try_for_each(|signature| write_numbers(signature, order))?;
        *json = Json::from_serialize(&list)?;
    } else {
        let before = WireSignature::from_json(json.as_bytes())?;
        let mut signature = before.clone();
        write_numbers(&mut signature, order)?;
        // The word may stand in an argument alone.
        if signature != before {
            *json = Json::from_bytes(signature.to_json().into())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_in_a_signature_become_the_numbers_of_the_broker_at_every_depth() {
        let task =
            |priority: serde_json::Value| json!({"task": "t", "args": ["urgent"], "options": {"priority": priority}});
        let chain = json!({"task": "celery.chain", "kwargs": {"tasks": [task(json!("background")), task(json!(4))]},
            "subtask_type": "chain", "options": {"link_error": [task(json!("urgent"))]}});
        let chord = json!({"task": "celery.chord", "kwargs": {"header": {"task": "celery.group",
            "kwargs": {"tasks": [chain]}, "subtask_type": "group"}, "body": task(json!("urgent"))},
            "subtask_type": "chord", "options": {"link": task(json!("background"))}});
        for (order, urgent, background) in [(PriorityOrder::LargerFirst, 255, 0), (PriorityOrder::SmallerFirst, 0, 9)] {
            let mut signature = WireSignature::from_json(chord.to_string().as_bytes()).unwrap();
            assert!(may_have_words(&signature));
            write_numbers(&mut signature, order).unwrap();
            let text = String::from_utf8(signature.to_json()).unwrap().replace(' ', "");
            let count = |priority: i32| text.matches(&format!("\"priority\":{priority}")).count();
            assert_eq!((count(urgent), count(background), count(4)), (2, 2, 1), "{text}");
            assert_eq!(text.matches("[\"urgent\"]").count(), 5, "arguments stay: {text}");
        }
    }

    #[test]
    fn numbers_and_arguments_are_no_words() {
        let wire =
            json!({"task": "t", "args": ["urgent"], "kwargs": {"task": "background"}, "options": {"priority": 3}});
        assert!(!may_have_words(&WireSignature::from_json(wire.to_string().as_bytes()).unwrap()));
        assert_eq!(Priority::of_word("Urgent"), None);
    }
}
