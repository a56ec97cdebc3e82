//! Joins the parts of a chord when all are counted: their results in order, nested like the header, or the first part
//! that has not returned. Without I/O, for drivers that keep the parts themselves.

use std::collections::HashMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use apium_protocol::result::state::State;

use crate::backend::chord::{ChordProgress, FailedPart};
use crate::error::{Error, ErrorKind, Result};

/// A part as it was counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CountedPart {
    /// The task.
    pub task_id: TaskId,
    /// How it ended.
    pub state: State,
    /// What it returned, or the map of its exception.
    pub result: Json,
}

impl CountedPart {
    /// A part that ended so.
    pub fn new(task_id: TaskId, state: State, result: Json) -> Self {
        Self { task_id, state, result }
    }
}

/// The results of all parts, which come in the order of the header; or the first part that has not returned.
pub fn listed(parts: impl IntoIterator<Item = CountedPart>) -> ChordProgress {
    let parts = parts.into_iter();
    let mut results = Vec::with_capacity(parts.size_hint().0);
    for CountedPart { task_id, state, result } in parts {
        if state.propagates() {
            return ChordProgress::Failed(FailedPart { task_id, state, exception: result });
        }
        results.push(result);
    }
    ChordProgress::Complete(results)
}

/// The results of a header that contains groups, nested like it; or the first task in the order of the header that has
/// not returned. Of a task that is not among the parts, since another system counted it, `stored` reads the result.
///
/// # Errors
/// When `stored` fails.
pub fn nested(
    header: &ResultTuple,
    parts: impl IntoIterator<Item = CountedPart>,
    stored: impl FnMut(&TaskId) -> Result<Option<ResultDocument>>,
) -> Result<ChordProgress> {
    let parts = parts.into_iter().map(|part| (part.task_id, (part.state, part.result))).collect();
    let mut results = Results { parts, stored };
    if let Some(failed) = results.first_failed(header)? {
        return Ok(ChordProgress::Failed(failed));
    }
    let members = header.children.iter().flatten();
    members.map(|member| results.of(header, member)).collect::<Result<_>>().map(ChordProgress::Complete)
}

struct Results<F> {
    parts: HashMap<TaskId, (State, Json)>,
    stored: F,
}

impl<F: FnMut(&TaskId) -> Result<Option<ResultDocument>>> Results<F> {
    /// The first task that has not returned. If there is none, the results of all tasks have been read.
    fn first_failed(&mut self, tuple: &ResultTuple) -> Result<Option<FailedPart>> {
        if let Some(members) = &tuple.children {
            for member in members {
                if let Some(failed) = self.first_failed(member)? {
                    return Ok(Some(failed));
                }
            }
            return Ok(None);
        }
        if !self.parts.contains_key(&tuple.id) {
            let found = (self.stored)(&tuple.id)?.filter(|document| document.state.is_ready());
            let found = found.map_or((State::Pending, Json::NULL), |document| (document.state, document.result));
            self.parts.insert(tuple.id.clone(), found);
        }
        Ok(self.parts.get(&tuple.id).filter(|(state, _)| state.propagates() || *state == State::Pending).map(
            |(state, result)| FailedPart { task_id: tuple.id.clone(), state: state.clone(), exception: result.clone() },
        ))
    }

    /// The result of one member of the header.
    fn of(&self, header: &ResultTuple, member: &ResultTuple) -> Result<Json> {
        if member.children.is_none() {
            return Ok(self.parts.get(&member.id).map_or(Json::NULL, |(_, result)| result.clone()));
        }
        let mut out = Vec::new();
        self.write(member, &mut out);
        Json::from_bytes(out.into()).map_err(|error| {
            let text = format!("join the results of the chord {}: one of them is no JSON", header.id);
            Error::new(ErrorKind::Corrupt, text).with_source(error)
        })
    }

    /// Writes the result of a task, or the list of a group's results.
    fn write(&self, tuple: &ResultTuple, out: &mut Vec<u8>) {
        let Some(members) = &tuple.children else {
            let result = self.parts.get(&tuple.id).map_or(&b"null"[..], |(_, result)| result.as_bytes());
            return out.extend_from_slice(result);
        };
        out.push(b'[');
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            self.write(member, out);
        }
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, state: State, result: &str) -> CountedPart {
        CountedPart { task_id: id.into(), state, result: Json::from_text(result).unwrap() }
    }

    fn success(id: &str, result: &str) -> CountedPart {
        part(id, State::Success, result)
    }

    fn complete(results: &[&str]) -> ChordProgress {
        ChordProgress::Complete(results.iter().map(|text| Json::from_text(text).unwrap()).collect())
    }

    fn nothing(_: &TaskId) -> Result<Option<ResultDocument>> {
        Ok(None)
    }

    /// `[a, [b, [], [c]], d]`.
    fn header() -> ResultTuple {
        let deep = ResultTuple::group("deep", vec![ResultTuple::task("c")]);
        let inner = vec![ResultTuple::task("b"), ResultTuple::group("none", Vec::new()), deep];
        let inner = ResultTuple::group("inner", inner);
        ResultTuple::group("g", vec![ResultTuple::task("a"), inner, ResultTuple::task("d")])
    }

    #[test]
    fn a_list_fails_by_its_first_failure() {
        assert_eq!(listed([success("a", "1"), success("b", "[2]")]), complete(&["1", "[2]"]));
        assert_eq!(listed([]), complete(&[]));
        let parts = [success("a", "1"), part("b", State::Revoked, "\"b\""), part("c", State::Failure, "\"c\"")];
        let ChordProgress::Failed(failed) = listed(parts) else { panic!("it did not fail") };
        assert_eq!((failed.task_id.as_str(), failed.state, failed.exception.as_str()), ("b", State::Revoked, "\"b\""));
    }

    #[test]
    fn groups_in_a_header_are_nested() {
        let parts = || ["d", "c", "b", "a"].map(|id| success(id, &format!("\"{id}\"")));
        let wanted = complete(&["\"a\"", "[\"b\", [], [\"c\"]]", "\"d\""]);
        let never = |_: &TaskId| panic!("what is stored was asked for");
        assert_eq!(nested(&header(), parts(), never).unwrap(), wanted);
        let more = parts().into_iter().chain([success("late", "9")]);
        assert_eq!(nested(&header(), more, never).unwrap(), wanted, "a part that is not in the header is left out");
    }

    #[test]
    fn a_task_that_is_no_part_is_looked_for_among_the_results() {
        let parts = || [success("a", "1"), success("b", "2"), success("d", "4")];
        let failed = |state, result: &str| {
            let exception = Json::from_text(result).unwrap();
            ChordProgress::Failed(FailedPart { task_id: "c".into(), state, exception })
        };
        assert_eq!(nested(&header(), parts(), nothing).unwrap(), failed(State::Pending, "null"));
        let found = |state: State| {
            let stored = move |id: &TaskId| {
                Ok(Some(ResultDocument::new(id.clone(), state.clone(), Json::from_text("33").unwrap())))
            };
            nested(&header(), parts(), stored).unwrap()
        };
        assert_eq!(found(State::Success), complete(&["1", "[2, [], [33]]", "4"]));
        assert_eq!(found(State::Failure), failed(State::Failure, "33"));
        assert_eq!(found(State::Started), failed(State::Pending, "null"), "what runs has no result");
    }

    #[test]
    fn the_first_failure_is_that_of_the_header() {
        let parts =
            [part("d", State::Failure, "4"), part("b", State::Failure, "2"), success("a", "1"), success("c", "3")];
        let ChordProgress::Failed(failed) = nested(&header(), parts, nothing).unwrap() else {
            panic!("it did not fail")
        };
        assert_eq!(failed.task_id.as_str(), "b");
    }
}
