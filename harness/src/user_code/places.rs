//! Where code of the user's panics or hangs, and how its task ends then.

use apium::canvas::Node;
use apium::message::Signature as WireSignature;
use apium::prelude::*;
use serde_json::json;

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With SUCCESS.
    Success,
    /// With FAILURE, and an exception of this type.
    Failure(&'static str),
    /// It is rejected: with FAILURE, and with late ack its message is in the dead set.
    Rejected,
    /// Its message is in the dead set.
    Dead,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Alone,
    /// With an argument.
    With(&'static str),
    /// With a callback.
    To(&'static str),
    /// With an errback.
    FailsTo(&'static str),
    /// As a part of a chord that has this body.
    ChordOf(&'static str),
    /// As a part of a chord, with a callback and an errback that cannot be made.
    PartTo(&'static str),
}

/// A place, by what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    task: &'static str,
    shape: Shape,
    /// How the task ends, or the body of the chord.
    pub end: End,
}

const FAILS: End = End::Failure("TaskError");
const PANICKED: End = End::Failure("Panic");
const LIMITED: End = End::Failure("TimeLimitExceeded");
const NO_FOLLOW_UP: End = End::Failure("FollowUpError");
const NO_BODY: End = End::Failure("ChordError");

/// Every place.
pub const PLACES: &[Place] = &[
    // Bodies, and what is called around them.
    at("body", Shape::Alone, PANICKED),
    at("plain_body", Shape::Alone, PANICKED),
    at("dropped", Shape::Alone, PANICKED),
    at("argument", Shape::With("?"), PANICKED),
    at("injected", Shape::Alone, PANICKED),
    at("result", Shape::Alone, PANICKED),
    at("display", Shape::Alone, PANICKED),
    at("source", Shape::Alone, PANICKED),
    at("matched", Shape::Alone, End::Failure("PanicsInSource")),
    at("layer", Shape::Alone, PANICKED),
    at("layer_later", Shape::Alone, PANICKED),
    at("layer_after", Shape::Alone, PANICKED),
    at("unread", Shape::Alone, End::Dead),
    // Hooks.
    at("before_start", Shape::Alone, PANICKED),
    at("before_start_later", Shape::Alone, PANICKED),
    at("hooked", Shape::With("succeeds"), End::Success),
    at("hooked", Shape::With("fails"), FAILS),
    at("hooked", Shape::With("retries"), End::Success),
    at("hooked_later", Shape::With("succeeds"), End::Success),
    at("hooked_later", Shape::With("fails"), FAILS),
    at("hooked_later", Shape::With("retries"), End::Success),
    at("on_replace", Shape::Alone, PANICKED),
    at("on_replace_later", Shape::Alone, PANICKED),
    // What follows a run.
    at("succeeds", Shape::To("unrouted"), NO_FOLLOW_UP),
    at("succeeds", Shape::To("unwritten"), NO_FOLLOW_UP),
    at("succeeds", Shape::To("refused"), NO_FOLLOW_UP),
    at("fails", Shape::FailsTo("unrouted"), FAILS),
    at("fails", Shape::FailsTo("unwritten"), FAILS),
    at("fails", Shape::FailsTo("refused"), FAILS),
    at("fails", Shape::FailsTo("errback"), FAILS),
    at("fails", Shape::FailsTo("plain_errback"), FAILS),
    at("succeeds", Shape::ChordOf("unrouted"), NO_BODY),
    at("succeeds", Shape::ChordOf("unwritten"), NO_BODY),
    at("succeeds", Shape::ChordOf("refused"), NO_BODY),
    at("succeeds", Shape::PartTo("unrouted"), NO_BODY),
    at("replaced", Shape::Alone, NO_FOLLOW_UP),
    at("retry_unwritten", Shape::Alone, End::Rejected),
    at("retry_refused", Shape::Alone, End::Rejected),
    // What hangs, and has a time limit.
    at("hangs", Shape::Alone, LIMITED),
    at("plain_hangs", Shape::Alone, LIMITED),
    at("fails", Shape::FailsTo("errback_hangs"), FAILS),
];

const fn at(task: &'static str, shape: Shape, end: End) -> Place {
    Place { task, shape, end }
}

impl Place {
    /// Whether its message is in the dead set then.
    pub fn is_dead(&self, acks_late: bool) -> bool {
        self.end == End::Dead || (self.end == End::Rejected && acks_late)
    }

    /// Its name, which is different from that of every other place.
    pub fn name(&self) -> String {
        match self.shape {
            Shape::Alone => self.task.to_owned(),
            Shape::With(argument) => format!("{}({argument})", self.task),
            Shape::To(callback) => format!("{}-to-{callback}", self.task),
            Shape::FailsTo(errback) => format!("{}-to-{errback}", self.task),
            Shape::ChordOf(body) => format!("chord-of-{body}"),
            Shape::PartTo(callback) => format!("part-to-{callback}"),
        }
    }

    /// What is sent. `id` is that of the task or of the body of the chord.
    pub fn node(&self, id: &str) -> Result<Node, BoxError> {
        let mut node = node(self.task, &[])?;
        match self.shape {
            Shape::Alone => {}
            Shape::With(argument) => node = self::node(self.task, &[json!(argument)])?,
            Shape::To(callback) => node.link(signature(callback, &[])?),
            Shape::FailsTo(errback) => node.link_error(signature(errback, &[])?),
            Shape::ChordOf(body) => node = Node::chord([node.clone(), node], self::node(body, &[])?),
            Shape::PartTo(callback) => {
                let other = node.clone();
                node.link(signature(callback, &[])?);
                node.link_error(signature(callback, &[])?);
                node = Node::chord([node, other], self::node("succeeds", &[])?);
            }
        }
        if self.task == "retry_unwritten" {
            node.options_mut().serializer = Some("json".into());
        }
        node.options_mut().task_id = Some(id.into());
        Ok(node)
    }
}

/// A task with arguments, by its name.
pub fn node(task: &str, args: &[serde_json::Value]) -> Result<Node, BoxError> {
    Ok(Node::from_wire(&signature(task, args)?)?)
}

/// The same as messages carry it.
pub fn signature(task: &str, args: &[serde_json::Value]) -> Result<WireSignature, BoxError> {
    let wire = json!({"task": format!("user_code.{task}"), "args": args, "kwargs": {}, "options": {}});
    Ok(WireSignature::from_json(wire.to_string().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_has_a_name_of_its_own() {
        let names: BTreeSet<String> = PLACES.iter().map(Place::name).collect();
        assert_eq!(names.len(), PLACES.len());
    }
}
