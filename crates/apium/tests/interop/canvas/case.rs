//! A case: a shape, the task of it that fails, and the outcome with Celery.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::canvas::rows::Row;
use crate::canvas::shape::Shape;

/// The outcome of every case with Celery 5.7, one a line.
pub(crate) const CELERY: &str = include_str!("celery.jsonl");

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) shape: Shape,
    pub(crate) fails: Option<String>,
    pub(crate) expected: Outcome,
    /// The row that it is.
    pub(crate) row: Option<Row>,
}

/// The outcome of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Outcome {
    /// The result that its sender gets: `b<a` is the result of `b`, whose parent is that of `a`; `[a,b]` is a group.
    pub(crate) result: String,
    /// What is stored of each task: its value, `!` and an exception, or another state.
    pub(crate) stored: BTreeMap<String, String>,
    /// What ran: the kind (`run`, `ok`, `error`, `called`), the task of the shape (or `whole`), and the arguments;
    /// sorted.
    pub(crate) done: Vec<String>,
}

/// All cases of the recorded shapes.
pub(crate) fn all() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| CELERY.lines().map(read).collect())
}

fn read(line: &str) -> Case {
    #[derive(Deserialize)]
    struct Line {
        shape: String,
        fails: Option<String>,
        #[serde(flatten)]
        expected: Outcome,
    }
    let Line { shape: text, fails, expected } = serde_json::from_str(line).unwrap();
    Case { shape: Shape::read(&text), text, fails, expected, row: None }
}
