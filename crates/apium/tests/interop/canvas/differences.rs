//! Where Apium differs from Celery on purpose, with the reasons.

use crate::canvas::case::Outcome;
use crate::canvas::flow::Flow;
use crate::canvas::header::{BareChord, failing_header};
use crate::canvas::shape::Shape;
use crate::kit::side::Side;

/// Whether a difference applies to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applies {
    No,
    Yes,
    /// It depends on which worker runs the last task.
    Depends,
}

impl Applies {
    fn when(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What is different, and why.
    pub(crate) why: &'static str,
    /// The flows to which it applies.
    pub(crate) applies: fn(&Flow) -> Applies,
    /// Changes Celery's outcome into Apium's.
    pub(crate) change: fn(&Flow, &mut Outcome),
}

/// All differences. `DESIGN.md` lists them, too.
pub(crate) const ALL: &[Difference] = &[
    Difference {
        why: "Celery passes the results of a group in the header of a chord to the body in reversed order. A plain group of \
              groups keeps its order, and so does everything that Rust sends.",
        applies: |flow| Applies::when(flow.sender == Side::Rust && !flow.case.shape.groups_in_headers().is_empty()),
        change: natural_order,
    },
    Difference {
        why: "With Celery, the result of a chord whose body is a chain or a chord has no parents before the body's last task. \
              In a chain it has them, and with Rust always.",
        applies: |flow| {
            let inner = |chord: BareChord<'_>| matches!(chord.body, Shape::Chain(_) | Shape::Chord(..));
            Applies::when(flow.sender == Side::Rust && BareChord::of(&flow.case.shape).is_some_and(inner))
        },
        change: whole_ancestry,
    },
    Difference {
        why: "When the header of a chord inside another header fails, or the header of a chord whose body is a chord, Celery \
              leaves the outer body PENDING for ever and calls no errback. When a Rust worker fails the header, the body fails \
              as any other, and an errback of both bodies is called for the outer one alone.",
        applies: |flow| match failing_header(&flow.case.shape, flow.case.fails.as_deref()) {
            Some(failing) if failing.celery_leaves_the_body_pending => flow.ran_by_rust(&failing.chord.header_tasks()),
            _ => Applies::No,
        },
        change: |flow, outcome| {
            let failing = failing_header(&flow.case.shape, flow.case.fails.as_deref());
            failing.unwrap().fail_the_body(outcome);
        },
    },
    Difference {
        why: "With Celery, a callback of a chain that ends in a group replaces the callbacks of the group's members. When Rust \
              sends the flow or the group, both are called.",
        applies: |flow| match ends_in_a_group(&flow.case.shape) {
            Some((before, _)) => {
                let sent_by_rust = flow.sender == Side::Rust || flow.owner(before) == Side::Rust;
                Applies::when(sent_by_rust)
            }
            None => Applies::No,
        },
        change: |flow, outcome| {
            let (_, members) = ends_in_a_group(&flow.case.shape).unwrap();
            let has_succeeded = |member: &&str| outcome.done.contains(&format!("ok whole {member}"));
            let own: Vec<String> =
                members.into_iter().filter(has_succeeded).map(|member| format!("ok {member} {member}")).collect();
            outcome.done.extend(own);
        },
    },
];

impl Flow {
    /// Whether all of these tasks are run by Rust.
    fn ran_by_rust(&self, tasks: &[&str]) -> Applies {
        let rust = tasks.iter().filter(|task| self.owner(task) == Side::Rust).count();
        match rust {
            0 => Applies::No,
            all if all == tasks.len() => Applies::Yes,
            _ => Applies::Depends,
        }
    }
}

fn natural_order(flow: &Flow, outcome: &mut Outcome) {
    for group in flow.case.shape.groups_in_headers() {
        let natural = group.join(",");
        let reversed = group.into_iter().rev().collect::<Vec<_>>().join(",");
        let texts = outcome.stored.values_mut().chain(&mut outcome.done).chain([&mut outcome.result]);
        texts.for_each(|text| *text = text.replace(&reversed, &natural));
    }
}

fn whole_ancestry(flow: &Flow, outcome: &mut Outcome) {
    let chord = BareChord::of(&flow.case.shape).unwrap();
    let (last, header) = outcome.result.split_once('<').unwrap();
    let before = match chord.body {
        Shape::Chain(steps) => steps[0].tasks().join(","),
        Shape::Chord(members, _) => {
            format!("[{}]", members.iter().flat_map(Shape::tasks).collect::<Vec<_>>().join(","))
        }
        _ => unreachable!("no other body has this difference"),
    };
    outcome.result = format!("{last}<{before}<{header}");
}

/// For a chain that ends in a group and does not begin with one: the task before the group, and the members.
fn ends_in_a_group(shape: &Shape) -> Option<(&str, Vec<&str>)> {
    let Shape::Chain(steps) = shape else { return None };
    match (&steps[0], &steps[1]) {
        (Shape::Group(_), _) => None,
        (before, Shape::Group(members)) => {
            Some((before.tasks().last()?, members.iter().flat_map(Shape::tasks).collect()))
        }
        _ => None,
    }
}

#[test]
fn each_difference_has_a_reason_and_changes_an_outcome() {
    for difference in ALL {
        assert!(difference.why.ends_with('.'));
        let mut changes = 0;
        for case in super::case::all() {
            for sender in [Side::Rust, Side::Python] {
                for owners in super::flow::Owners::ALL {
                    let flow = Flow { case, owners, sender };
                    let mut outcome = case.expected.clone();
                    if (difference.applies)(&flow) != Applies::No {
                        (difference.change)(&flow, &mut outcome);
                        changes += usize::from(outcome != case.expected);
                    }
                }
            }
        }
        assert!(changes > 0, "{}", difference.why);
    }
}
