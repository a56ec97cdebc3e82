//! Where Apium differs from Celery on purpose, each with its reason.

use crate::canvas::case::Became;
use crate::canvas::flow::Flow;
use crate::canvas::header::{BareChord, failing_header};
use crate::canvas::shape::Shape;
use crate::side::Side;

/// Whether a flow goes Apium's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concerns {
    No,
    Yes,
    /// It depends on which worker is last.
    Perhaps,
}

impl Concerns {
    fn when(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// One difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What is different, and why.
    pub(crate) why: &'static str,
    /// Which flows it concerns.
    pub(crate) concerns: fn(&Flow) -> Concerns,
    /// Makes of what Celery does what Apium does.
    pub(crate) change: fn(&Flow, &mut Became),
}

/// All of them. They are also in `DESIGN.md`.
pub(crate) const ALL: &[Difference] = &[
    Difference {
        why: "Celery hands the results of a group that stands in the header of a chord to the body in reversed order. A plain \
              group of groups keeps its order, and so does everything that Rust sends.",
        concerns: |flow| Concerns::when(flow.sender == Side::Rust && !flow.case.shape.groups_in_headers().is_empty()),
        change: natural_order,
    },
    Difference {
        why: "The result of a chord whose body is a chain or a chord forgets in Celery what comes before the body's last \
              task. It keeps it in a chain, and Rust keeps it always.",
        concerns: |flow| {
            let inner = |chord: BareChord<'_>| matches!(chord.body, Shape::Chain(_) | Shape::Chord(..));
            Concerns::when(flow.sender == Side::Rust && BareChord::of(&flow.case.shape).is_some_and(inner))
        },
        change: whole_ancestry,
    },
    Difference {
        why: "When the header of a chord that stands in another header fails, or that of a chord whose body is a chord, \
              Celery leaves the outer body PENDING for ever and calls no errback. Where a Rust worker learns of it, the body fails as \
              any other.",
        concerns: |flow| match failing_header(&flow.case.shape, flow.case.fails.as_deref()) {
            Some(failing) if failing.celery_forgets_the_body => flow.ran_by_rust(&failing.chord.header_tasks()),
            _ => Concerns::No,
        },
        change: |flow, became| {
            let failing = failing_header(&flow.case.shape, flow.case.fails.as_deref());
            failing.unwrap().fail_the_body(became);
        },
    },
    Difference {
        why: "A callback of a chain that ends in a group takes the place of the callbacks that its members have themselves. \
              With Rust, who sends the flow or that group, it comes beside them.",
        concerns: |flow| match ends_in_a_group(&flow.case.shape) {
            Some((before, _)) => {
                let sent_by_rust = flow.sender == Side::Rust || flow.owner(before) == Side::Rust;
                Concerns::when(sent_by_rust)
            }
            None => Concerns::No,
        },
        change: |flow, became| {
            let (_, members) = ends_in_a_group(&flow.case.shape).unwrap();
            let ended = |member: &&str| became.notes.contains(&format!("ok whole {member}"));
            let own: Vec<String> =
                members.into_iter().filter(ended).map(|member| format!("ok {member} {member}")).collect();
            became.notes.extend(own);
        },
    },
];

impl Flow {
    /// Whether all of these tasks are Rust's.
    fn ran_by_rust(&self, tasks: &[&str]) -> Concerns {
        let rust = tasks.iter().filter(|task| self.owner(task) == Side::Rust).count();
        match rust {
            0 => Concerns::No,
            all if all == tasks.len() => Concerns::Yes,
            _ => Concerns::Perhaps,
        }
    }
}

fn natural_order(flow: &Flow, became: &mut Became) {
    for group in flow.case.shape.groups_in_headers() {
        let natural = group.join(",");
        let reversed = group.into_iter().rev().collect::<Vec<_>>().join(",");
        let texts = became.ends.values_mut().chain(&mut became.notes).chain([&mut became.result]);
        texts.for_each(|text| *text = text.replace(&reversed, &natural));
    }
}

fn whole_ancestry(flow: &Flow, became: &mut Became) {
    let chord = BareChord::of(&flow.case.shape).unwrap();
    let (last, header) = became.result.split_once('<').unwrap();
    let before = match chord.body {
        Shape::Chain(steps) => steps[0].tasks().join(","),
        Shape::Chord(members, _) => {
            format!("[{}]", members.iter().flat_map(Shape::tasks).collect::<Vec<_>>().join(","))
        }
        _ => unreachable!("it is asked for no other"),
    };
    became.result = format!("{last}<{before}<{header}");
}

/// Of a chain that ends in a group, and begins with something else: the task before the group, and its members.
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
fn each_difference_has_a_reason_and_changes_what_it_concerns() {
    for difference in ALL {
        assert!(difference.why.ends_with('.'));
        let mut changes = 0;
        for case in super::case::all() {
            for sender in [Side::Rust, Side::Python] {
                for owners in super::flow::Owners::ALL {
                    let flow = Flow { case, owners, sender };
                    let mut became = case.expected.clone();
                    if (difference.concerns)(&flow) != Concerns::No {
                        (difference.change)(&flow, &mut became);
                        changes += usize::from(became != case.expected);
                    }
                }
            }
        }
        assert!(changes > 0, "{}", difference.why);
    }
}
