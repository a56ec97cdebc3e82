//! A shape of the canvas, and its text: `chain(a,chord(b,c,d))`.

use std::collections::BTreeSet;

/// A task, or a workflow of shapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// A task by its name.
    Task(String),
    Chain(Vec<Shape>),
    /// Steps that are joined by `|`.
    Pipe(Vec<Shape>),
    /// Steps that nothing has joined: a chain as it may be in a message.
    Steps(Vec<Shape>),
    Group(Vec<Shape>),
    /// The members of the header, and the body.
    Chord(Vec<Shape>, Box<Shape>),
    /// A task with another shape at it: how, the task, the shape.
    At(Place, String, Box<Shape>),
}

/// How a shape stands at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// As its callback.
    Then,
    /// As its errback.
    Else,
    /// In its place.
    Replace,
}

impl Shape {
    /// Parses a text.
    pub(crate) fn read(text: &str) -> Self {
        let (shape, remaining) = Self::parse(text);
        assert_eq!(remaining, "", "{text}");
        shape
    }

    fn parse(text: &str) -> (Self, &str) {
        let end = text.find([',', '(', ')']).unwrap_or(text.len());
        let (word, mut rest) = text.split_at(end);
        if !rest.starts_with('(') {
            return (Self::Task(word.to_owned()), rest);
        }
        let mut parts = Vec::new();
        while !rest.starts_with(')') {
            let (part, after) = Self::parse(&rest[1..]);
            parts.push(part);
            rest = after;
        }
        let shape = match word {
            "chain" => Self::Chain(parts),
            "pipe" => Self::Pipe(parts),
            "steps" => Self::Steps(parts),
            "group" => Self::Group(parts),
            "then" => Self::at(Place::Then, parts),
            "else" => Self::at(Place::Else, parts),
            "replace" => Self::at(Place::Replace, parts),
            "chord" => {
                let body = parts.pop().unwrap();
                Self::Chord(parts, Box::new(body))
            }
            other => panic!("{other} is no shape"),
        };
        (shape, &rest[1..])
    }

    fn at(place: Place, parts: Vec<Self>) -> Self {
        let parts: [Self; 2] = parts.try_into().unwrap();
        match parts {
            [Self::Task(task), shape] => Self::At(place, task, Box::new(shape)),
            other => panic!("{other:?}: a shape stands at a task"),
        }
    }

    /// The names of its tasks, in order.
    pub(crate) fn tasks(&self) -> Vec<&str> {
        match self {
            Self::Task(name) => vec![name],
            Self::Chain(parts) | Self::Pipe(parts) | Self::Steps(parts) | Self::Group(parts) => {
                parts.iter().flat_map(Self::tasks).collect()
            }
            Self::Chord(header, body) => header.iter().chain([&**body]).flat_map(Self::tasks).collect(),
            Self::At(_, task, shape) => [task.as_str()].into_iter().chain(shape.tasks()).collect(),
        }
    }

    /// Groups that are members of the header of a chord, by the names of their tasks.
    pub(crate) fn groups_in_headers(&self) -> Vec<Vec<&str>> {
        match self {
            Self::Task(_) => Vec::new(),
            Self::Chain(parts) | Self::Pipe(parts) | Self::Steps(parts) | Self::Group(parts) => {
                parts.iter().flat_map(Self::groups_in_headers).collect()
            }
            Self::At(_, _, shape) => shape.groups_in_headers(),
            Self::Chord(header, body) => {
                let groups = header.iter().filter(|member| matches!(member, Self::Group(_)));
                let inside = header.iter().chain([&**body]).flat_map(Self::groups_in_headers);
                groups.map(Self::tasks).chain(inside).collect()
            }
        }
    }
}

/// The number of shapes up to a depth, as `canvas_shapes.py` explains it.
pub(crate) fn count(depth: u32) -> usize {
    match depth {
        0 => 0,
        1 => 1,
        _ => {
            let parts = count(depth - 1);
            1 + 2 * parts.pow(2) + parts.pow(3)
        }
    }
}

#[test]
fn the_cases_are_those_of_all_97_shapes() {
    let cases = super::case::all();
    let shapes: BTreeSet<&Shape> = cases.iter().map(|case| &case.shape).collect();
    assert_eq!((shapes.len(), count(3)), (97, 97));
    for shape in shapes {
        let mut failing: Vec<Option<&str>> =
            cases.iter().filter(|case| case.shape == *shape).map(|case| case.fails.as_deref()).collect();
        failing.sort_unstable();
        let wanted: Vec<Option<&str>> = [None].into_iter().chain(shape.tasks().into_iter().map(Some)).collect();
        assert_eq!(failing, wanted, "{shape:?}: each of its tasks fails once");
    }
}
