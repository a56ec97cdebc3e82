//! A shape with the task of it that fails, and what Celery makes of that.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::canvas::shape::Shape;

/// What Celery 5.7 makes of every case, one a line.
pub(crate) const CELERY: &str = include_str!("celery.jsonl");

/// A shape, the task of it that fails, and what becomes of that with Celery.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) shape: Shape,
    pub(crate) fails: Option<String>,
    pub(crate) expected: Became,
}

/// What becomes of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Became {
    /// What its sender has in hand: `b<a` is the result of `b`, whose parent is that of `a`; `[a,b]` is a group.
    pub(crate) result: String,
    /// What is stored of each task: its value, `!` and an exception, or another state.
    pub(crate) ends: BTreeMap<String, String>,
    /// What was done (`run`, `ok`, `error`, `told`), the place in the shape (`whole` is the whole), and with what; sorted.
    pub(crate) notes: Vec<String>,
}

/// All cases.
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
        expected: Became,
    }
    let Line { shape: text, fails, expected } = serde_json::from_str(line).unwrap();
    Case { shape: Shape::read(&text), text, fails, expected }
}
