//! The steps of a chain in the form in which they are sent: each is a task, or a chord whose body is not a chain, and
//! the last one may be a group.

use std::collections::VecDeque;

use crate::canvas::merge::with_stored;
use crate::canvas::node::{ChainNode, ChordNode, Node};
use crate::canvas::pipe::{unchained, unchained_with_options, unrolled};

/// Puts steps into that form. A chain becomes its steps, a group of one becomes its member, and an empty group is
/// removed. A group and the step after it become a chord. What follows the first task of a chord's body becomes a step
/// itself.
pub(crate) fn sendable_steps(list: Vec<Node>) -> Vec<Node> {
    let mut pending = VecDeque::from(list);
    let mut done: Vec<Node> = Vec::with_capacity(pending.len());
    let mut empty = None;
    while let Some(step) = pending.pop_front() {
        match unrolled(step) {
            Node::Chain(chain) => unchained(chain).into_iter().rev().for_each(|inner| pending.push_front(inner)),
            Node::Group(group) if group.members.is_empty() => empty = Some(Node::Group(group)),
            step => match (done.pop(), step) {
                (Some(Node::Group(header)), body) => {
                    pending.push_front(Node::Chord(ChordNode::new(header, body)));
                }
                // A step after a chord that ends with a group runs after that group.
                (Some(Node::Chord(mut chord)), step) if chord.body.ends_with_a_group() => {
                    let body = std::mem::replace(&mut *chord.body, Node::Chain(ChainNode::default()));
                    *chord.body = body.pipe(step);
                    pending.push_front(Node::Chord(chord));
                }
                (before, step) => {
                    done.extend(before);
                    split_body(step, &mut done, &mut pending);
                }
            },
        }
    }
    if done.is_empty() {
        done.extend(empty);
    }
    done
}

/// Where the body of a chord is a chain that begins with a task, only that task stays the body, with the options of the
/// chain.
fn split_body(step: Node, done: &mut Vec<Node>, pending: &mut VecDeque<Node>) {
    let Node::Chord(mut chord) = step else { return done.push(step) };
    match *chord.body {
        Node::Chain(body) if begins_with_a_task(&body.steps) => {
            let (body, options) = unchained_with_options(body);
            let mut body = sendable_steps(body);
            let mut first = body.remove(0);
            let own = std::mem::take(first.options_mut());
            *first.options_mut() = with_stored(options, own);
            body.into_iter().rev().for_each(|inner| pending.push_front(inner));
            chord.body = Box::new(first);
            done.push(Node::Chord(chord));
        }
        body => done.push(Node::Chord(ChordNode { body: Box::new(body), ..chord })),
    }
}

fn begins_with_a_task(steps: &[Node]) -> bool {
    match steps.first() {
        Some(Node::Group(_)) | None => false,
        Some(Node::Chain(chain)) => begins_with_a_task(&chain.steps),
        Some(Node::Task(_) | Node::Chord(_)) => true,
    }
}
