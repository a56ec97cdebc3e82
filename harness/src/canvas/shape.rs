//! The workflows of the fault test, and the result that each must have.

use std::ops::Range;

use apium::canvas::Node;
use apium::prelude::*;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::tasks::{BODIES, LAST, add, answer, early, first, join, part};

/// A workflow that ends with a chord's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A chord.
    Flat,
    /// A chord whose last part goes to a queue of its own.
    SeparateLast,
    /// The same, and the last part is acked before it runs.
    EarlyAckedLast,
    /// A task and then a chord, which a worker opens.
    OpenedByWorker,
    /// A chord of chords.
    Nested,
}

/// How many chords a chord of chords has.
pub const INNER_CHORDS: u64 = 10;

impl Shape {
    /// The workflow with this many parts.
    pub fn node(self, parts: u64) -> Result<Node, BoxError> {
        let body = call(join::NAME, &[], Some(BODIES))?;
        let all = |last: Option<&'static str>| {
            (0..parts).map(move |number| of_part(number, last.filter(|_| number + 1 == parts)))
        };
        Ok(match self {
            Self::Flat => Node::chord(all(None).collect::<Result<Vec<_>, _>>()?, body),
            Self::SeparateLast => Node::chord(all(Some(part::NAME)).collect::<Result<Vec<_>, _>>()?, body),
            Self::EarlyAckedLast => Node::chord(all(Some(early::NAME)).collect::<Result<Vec<_>, _>>()?, body),
            Self::OpenedByWorker => {
                let chord = Node::chord(all(None).collect::<Result<Vec<_>, _>>()?, body);
                Node::chain([call(first::NAME, &[], None)?, chord])
            }
            Self::Nested => {
                let mut inner = Vec::new();
                for number in 0..INNER_CHORDS {
                    let members = inner_parts(parts, number).map(|part| of_part(part, None));
                    inner.push(Node::chord(members.collect::<Result<Vec<_>, _>>()?, call(add::NAME, &[number], None)?));
                }
                Node::chord(inner, body)
            }
        })
    }

    /// What the body receives.
    pub fn results(self, parts: u64) -> Vec<u64> {
        match self {
            Self::Nested => (0..INNER_CHORDS).map(|number| inner_parts(parts, number).map(answer).sum()).collect(),
            _ => (0..parts).map(answer).collect(),
        }
    }
}

/// The numbers of the parts of one inner chord. They follow each other, so the inner chords end one after the other.
fn inner_parts(parts: u64, number: u64) -> Range<u64> {
    let of = |number| parts * number / INNER_CHORDS;
    of(number)..of(number + 1)
}

/// A part. `separate` names the task of a part that goes to the queue of the last part.
fn of_part(number: u64, separate: Option<&str>) -> Result<Node, BoxError> {
    let mut node = call(separate.unwrap_or(part::NAME), &[number], separate.map(|_| LAST))?;
    // It does not take the result of a task before it.
    node.set_immutable(true);
    Ok(node)
}

fn call(task: &str, args: &[u64], queue: Option<&str>) -> Result<Node, BoxError> {
    let args = args.iter().map(Json::from_serialize).collect::<Result<_, _>>()?;
    let mut wire = WireSignature::new(task);
    wire.args = args;
    if let Some(queue) = queue {
        wire.options.insert("queue".to_owned(), Json::from_serialize(queue)?);
    }
    Ok(Node::from_wire(&wire)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_chord_of_chords_counts_once() {
        let flat: u64 = Shape::Flat.results(105).iter().sum();
        assert_eq!(Shape::Nested.results(105).iter().sum::<u64>(), flat);
        assert_eq!(Shape::Nested.results(105).len(), 10);
    }

    #[test]
    fn only_the_last_part_goes_to_its_own_queue() {
        for (shape, task) in [(Shape::SeparateLast, part::NAME), (Shape::EarlyAckedLast, early::NAME)] {
            let Node::Chord(chord) = shape.node(5).unwrap() else { panic!("it is a chord") };
            let members: Vec<_> = chord.header.members.iter().map(|member| member.to_wire().unwrap()).collect();
            let queues: Vec<bool> = members.iter().map(|member| member.options.contains_key("queue")).collect();
            assert_eq!((queues, &*members[4].task), (vec![false, false, false, false, true], task));
        }
    }
}
