//! Where Apium differs from Celery on purpose, each with its reason.

use crate::canvas::case::Became;
use crate::canvas::flow::Flow;
use crate::side::Side;

/// One difference.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What is different, and why.
    pub(crate) why: &'static str,
    /// Which flows it concerns.
    pub(crate) concerns: fn(&Flow) -> bool,
    /// Makes of what Celery does what is expected.
    pub(crate) change: fn(&Flow, &mut Became),
}

/// All of them. They are also in `DESIGN.md`.
pub(crate) const ALL: &[Difference] = &[Difference {
    why: "Celery reverses the members of a group that stands in the header of a chord, in the results that the body gets. \
          A plain group of groups keeps its order, and so does everything that Rust sends.",
    concerns: |flow| flow.sender == Side::Rust && !flow.case.shape.groups_in_headers().is_empty(),
    change: |flow, became| {
        for group in flow.case.shape.groups_in_headers() {
            let natural = group.join(",");
            let reversed = group.into_iter().rev().collect::<Vec<_>>().join(",");
            let texts = became.ends.values_mut().chain(&mut became.notes).chain([&mut became.result]);
            texts.for_each(|text| *text = text.replace(&reversed, &natural));
        }
    },
}];

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
                    if (difference.concerns)(&flow) {
                        (difference.change)(&flow, &mut became);
                        changes += usize::from(became != case.expected);
                    }
                }
            }
        }
        assert!(changes > 0, "{}", difference.why);
    }
}
