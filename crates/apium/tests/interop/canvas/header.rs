//! What becomes of the body of a chord when its header fails.

use crate::canvas::case::Became;
use crate::canvas::shape::Shape;

/// A shape that is a chord as a whole: written as one, or as a group and what comes after it.
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
    /// The part that fails: the task that bears its result.
    part: &'a str,
    /// What it fails with: class and text.
    raised: (&'static str, String),
    /// Whether Celery's body stays as it was.
    pub(crate) celery_forgets_the_body: bool,
}

/// The chord whose header fails with a task, where a shape is one.
pub(crate) fn failing_header<'a>(shape: &'a Shape, fails: Option<&str>) -> Option<FailingHeader<'a>> {
    let (chord, fails) = (BareChord::of(shape)?, fails?);
    let member = chord.header.iter().find(|member| member.tasks().contains(&fails))?;
    let tasks = member.tasks();
    let last = *tasks.last()?;
    let own = ("ValueError", fails.to_owned());
    let (part, raised, nested) = match member {
        // The members of a group are parts each for itself.
        Shape::Task(_) | Shape::Group(_) => (tasks.into_iter().find(|task| *task == fails)?, own, false),
        Shape::Chord(..) if fails != last => {
            (last, ("ChordError", format!("Dependency {fails} raised ValueError('{fails}')")), true)
        }
        Shape::Chain(_) | Shape::Chord(..) => (last, own, false),
    };
    let celery_forgets_the_body = nested || matches!(chord.body, Shape::Chord(..));
    Some(FailingHeader { chord, part, raised, celery_forgets_the_body })
}

impl FailingHeader<'_> {
    /// The body fails, and its errbacks and those of the whole are told.
    pub(crate) fn fail_the_body(&self, became: &mut Became) {
        let (class, text) = &self.raised;
        // As Python writes a text that holds a quote.
        let quote = if text.contains('\'') { '"' } else { '\'' };
        let chord_error = format!("Dependency {} raised {class}({quote}{text}{quote})", self.part);
        let tasks = self.chord.body.tasks();
        let Some(last) = tasks.last() else { return };
        let mut fail = |task: &str, own: bool, class: &str, text: &str| {
            became.ends.insert(task.to_owned(), format!("!{class}: {text}"));
            became.notes.extend([format!("error whole {task}"), format!("told whole {task},{class}")]);
            if own {
                became.notes.push(format!("error {task} {task}"));
            }
        };
        match self.chord.body {
            Shape::Task(_) | Shape::Chord(..) => fail(last, true, "ChordError", &chord_error),
            // The errbacks of a chain that is a body are those of its whole.
            Shape::Chain(_) => fail(last, false, "ChordError", &chord_error),
            // Members of a group fail with what the header failed with.
            Shape::Group(_) => tasks.iter().for_each(|task| fail(task, true, class, text)),
        }
    }
}

#[test]
fn where_celery_fails_the_body_it_does_so_like_this() {
    let mut seen = 0;
    for case in super::case::all() {
        let failing = failing_header(&case.shape, case.fails.as_deref());
        let Some(failing) = failing.filter(|failing| !failing.celery_forgets_the_body) else { continue };
        let mut without = case.expected.clone();
        let body = failing.chord.body.tasks();
        for task in &body {
            without.ends.insert((*task).to_owned(), "PENDING".to_owned());
        }
        let of_body =
            |note: &String| body.iter().any(|task| note.ends_with(task) || note.contains(&format!(" {task},")));
        without.notes.retain(|note| !of_body(note));
        failing.fail_the_body(&mut without);
        without.notes.sort_unstable();
        assert_eq!(without, case.expected, "{}, {:?} fails", case.text, case.fails);
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}
