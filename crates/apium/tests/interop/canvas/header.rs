//! The outcome of the body of a chord when its header fails.

use crate::canvas::case::Outcome;
use crate::canvas::shape::Shape;

/// A shape that is a chord as a whole: written as a chord, or as a group followed by a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BareChord<'a> {
    pub(crate) header: &'a [Shape],
    pub(crate) body: &'a Shape,
}

impl<'a> BareChord<'a> {
    pub(crate) fn of(shape: &'a Shape) -> Option<Self> {
        match shape {
            Shape::Chord(header, body) => Some(Self { header, body }),
            Shape::Chain(steps) => match &steps[0] {
                Shape::Group(header) => Some(Self { header, body: &steps[1] }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The tasks of its header.
    pub(crate) fn header_tasks(&self) -> Vec<&'a str> {
        self.header.iter().flat_map(Shape::tasks).collect()
    }
}

/// A chord whose header fails.
#[derive(Debug)]
pub(crate) struct FailingHeader<'a> {
    pub(crate) chord: BareChord<'a>,
    /// The part that fails: the task with the result of the part.
    part: &'a str,
    /// The class and the text of its exception.
    raised: (&'static str, String),
    /// Whether the task that fails is in the header of a chord in this header.
    in_inner_header: bool,
    /// Whether the body stays PENDING with Celery.
    pub(crate) celery_leaves_the_body_pending: bool,
}

/// The chord that a shape is as a whole, if the failing task is in its header.
pub(crate) fn failing_header<'a>(shape: &'a Shape, fails: Option<&str>) -> Option<FailingHeader<'a>> {
    let (chord, fails) = (BareChord::of(shape)?, fails?);
    let member = chord.header.iter().find(|member| member.tasks().contains(&fails))?;
    let tasks = member.tasks();
    let last = *tasks.last()?;
    let own = ("ValueError", fails.to_owned());
    let (part, raised, nested) = match member {
        // Each member of a group is a part of its own.
        Shape::Task(_) | Shape::Group(_) => (tasks.into_iter().find(|task| *task == fails)?, own, false),
        Shape::Chord(..) if fails != last => {
            (last, ("ChordError", format!("Dependency {fails} raised ValueError('{fails}')")), true)
        }
        Shape::Chain(_) | Shape::Chord(..) => (last, own, false),
        row => unreachable!("{row:?} is no part of a recorded shape"),
    };
    let celery_leaves_the_body_pending = nested || matches!(chord.body, Shape::Chord(..));
    Some(FailingHeader { chord, part, raised, in_inner_header: nested, celery_leaves_the_body_pending })
}

impl FailingHeader<'_> {
    /// Adds to an outcome that the body fails, and that its errbacks and those of the whole are called. The errbacks of
    /// the whole are those of the body of a chord in the header too, and are not called for that one then.
    pub(crate) fn fail_the_body(&self, outcome: &mut Outcome) {
        let (class, text) = &self.raised;
        if self.in_inner_header {
            let inner = [format!("error whole {}", self.part), format!("called whole {},{class}", self.part)];
            outcome.done.retain(|line| !inner.contains(line));
        }
        // Python writes a text with a quote in it like this.
        let quote = if text.contains('\'') { '"' } else { '\'' };
        let chord_error = format!("Dependency {} raised {class}({quote}{text}{quote})", self.part);
        let tasks = self.chord.body.tasks();
        let Some(last) = tasks.last() else { return };
        let mut fail = |task: &str, own: bool, class: &str, text: &str| {
            outcome.stored.insert(task.to_owned(), format!("!{class}: {text}"));
            outcome.done.extend([format!("error whole {task}"), format!("called whole {task},{class}")]);
            if own {
                outcome.done.push(format!("error {task} {task}"));
            }
        };
        match self.chord.body {
            Shape::Task(_) | Shape::Chord(..) => fail(last, true, "ChordError", &chord_error),
            // The errbacks of a body that is a chain are those of the whole.
            Shape::Chain(_) => fail(last, false, "ChordError", &chord_error),
            // Members of a group fail with the error of the header.
            Shape::Group(_) => tasks.iter().for_each(|task| fail(task, true, class, text)),
            row => unreachable!("{row:?} is no part of a recorded shape"),
        }
    }
}

#[test]
fn a_failing_body_has_the_outcome_that_celery_gives_it() {
    let mut count = 0;
    for case in super::case::all() {
        let failing = failing_header(&case.shape, case.fails.as_deref());
        let Some(failing) = failing.filter(|failing| !failing.celery_leaves_the_body_pending) else { continue };
        let mut without = case.expected.clone();
        let body = failing.chord.body.tasks();
        for task in &body {
            without.stored.insert((*task).to_owned(), "PENDING".to_owned());
        }
        let of_body =
            |line: &String| body.iter().any(|task| line.ends_with(task) || line.contains(&format!(" {task},")));
        without.done.retain(|line| !of_body(line));
        failing.fail_the_body(&mut without);
        without.done.sort_unstable();
        assert_eq!(without, case.expected, "{}, {:?} fails", case.text, case.fails);
        count += 1;
    }
    assert!(count > 100, "{count}");
}
