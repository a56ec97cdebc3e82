//! The chords that are broken, and what comes out of them.

use std::ops::Range;

use apium::canvas::Node;
use apium::prelude::*;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::canvas::tasks::{BODIES, LAST, add, answer, early, first, join, part};

/// A workflow that ends with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A chord.
    Flat,
    /// The same, whose last part goes to a queue of its own.
    KeptLast,
    /// The same, and that part is acked before it runs.
    EarlyLast,
    /// A task, and then a chord, which a worker opens.
    Opened,
    /// A chord of chords.
    Nested,
}

/// How many chords a chord of chords has.
pub const INNER_CHORDS: u64 = 10;

impl Shape {
    /// It with so many parts.
    pub fn node(self, parts: u64) -> Result<Node, BoxError> {
        let body = call(join::NAME, &[], Some(BODIES))?;
        let all = |last: Option<&'static str>| {
            (0..parts).map(move |number| of_part(number, last.filter(|_| number + 1 == parts)))
        };
        Ok(match self {
            Self::Flat => Node::chord(all(None).collect::<Result<Vec<_>, _>>()?, body),
            Self::KeptLast => Node::chord(all(Some(part::NAME)).collect::<Result<Vec<_>, _>>()?, body),
            Self::EarlyLast => Node::chord(all(Some(early::NAME)).collect::<Result<Vec<_>, _>>()?, body),
            Self::Opened => {
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

    /// What the body gets.
    pub fn results(self, parts: u64) -> Vec<u64> {
        match self {
            Self::Nested => (0..INNER_CHORDS).map(|number| inner_parts(parts, number).map(answer).sum()).collect(),
            _ => (0..parts).map(answer).collect(),
        }
    }
}

/// The parts of one inner chord, side by side, so that the inner chords end one after the other.
fn inner_parts(parts: u64, number: u64) -> Range<u64> {
    let of = |number| parts * number / INNER_CHORDS;
    of(number)..of(number + 1)
}

/// A part; one that is kept for the end says which task it is.
fn of_part(number: u64, kept: Option<&str>) -> Result<Node, BoxError> {
    let mut node = call(kept.unwrap_or(part::NAME), &[number], kept.map(|_| LAST))?;
    // Behind another task it takes nothing of it.
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
    fn a_kept_part_is_the_last_one_and_no_other() {
        for (shape, task) in [(Shape::KeptLast, part::NAME), (Shape::EarlyLast, early::NAME)] {
            let Node::Chord(chord) = shape.node(5).unwrap() else { panic!("it is a chord") };
            let members: Vec<_> = chord.header.members.iter().map(|member| member.to_wire().unwrap()).collect();
            let queues: Vec<bool> = members.iter().map(|member| member.options.contains_key("queue")).collect();
            assert_eq!((queues, &*members[4].task), (vec![false, false, false, false, true], task));
        }
    }
}
