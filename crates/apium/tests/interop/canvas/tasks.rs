//! The tasks of the flows, by the names of `tests/interop/canvas.py`: each leaves a line in a file.

use std::fmt;
use std::io::Write;

use apium::prelude::*;
use serde::{Deserialize, Serialize};

/// Python's `ValueError`.
#[wire_error(py = "builtins.ValueError")]
#[derive(Debug)]
struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// What every task gets by name.
#[derive(Debug, Deserialize)]
struct Place {
    path: String,
    flow: String,
    place: String,
    #[serde(default)]
    fails: bool,
}

impl Place {
    fn of(kwargs: &Kwargs) -> TaskResult<Self> {
        let map: serde_json::Map<String, serde_json::Value> =
            kwargs.iter().map(|(name, value)| Ok((name.clone(), whole(value)?))).collect::<TaskResult<_>>()?;
        Ok(serde_json::from_value(map.into())?)
    }

    fn note(&self, what: &str, given: &str) -> TaskResult<()> {
        // One write to a file that is open for appending: lines of many programs do not mix.
        let line = format!("{} {what} {} {given} rust\n", self.flow, self.place);
        Ok(std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(line.as_bytes())?)
    }
}

/// A task of a shape. Its value says what it was given.
#[task(name = "canvas.leaf")]
pub(crate) async fn leaf(given: Args, kwargs: Kwargs) -> TaskResult<String> {
    let (place, given) = (Place::of(&kwargs)?, short_list(&given)?);
    place.note("run", &given)?;
    match place.fails {
        true => Err(ValueError(place.place).into()),
        false => Ok(format!("{}({given})", place.place)),
    }
}

/// A callback.
#[task(name = "canvas.ok")]
pub(crate) async fn ok(given: Args, kwargs: Kwargs) -> TaskResult<()> {
    Place::of(&kwargs)?.note("ok", &short_list(&given)?)
}

/// An errback of the old kind: a message brings it the id.
#[task(name = "canvas.error")]
pub(crate) async fn error(failed_id: String, kwargs: Kwargs) -> TaskResult<()> {
    let place = Place::of(&kwargs)?;
    place.note("error", of_flow(&place.flow, &failed_id))
}

/// An errback of the new kind: called by the worker that learns of the failure.
#[task(name = "canvas.told")]
pub(crate) async fn told(request: Failed, exc: Raised, traceback: Json, kwargs: Kwargs) -> TaskResult<()> {
    let (place, _) = (Place::of(&kwargs)?, traceback);
    place.note("told", &format!("{},{}", of_flow(&place.flow, &request.id), exc.exc_type))
}

/// What is needed of the request of a task that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    id: String,
}

/// What is needed of an exception.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Raised {
    exc_type: String,
}

/// The name of a task by its id, which is made of the flow's and the task's.
pub(crate) fn of_flow<'a>(flow: &str, id: &'a str) -> &'a str {
    id.strip_prefix(flow).and_then(|rest| rest.strip_prefix('-')).unwrap_or("?")
}

fn whole(json: &Json) -> TaskResult<serde_json::Value> {
    Ok(serde_json::from_str(json.as_str())?)
}

fn short_list(given: &[Json]) -> TaskResult<String> {
    let values = given.iter().map(whole).collect::<TaskResult<Vec<_>>>()?;
    Ok(shorts(&values))
}

fn shorts(values: &[serde_json::Value]) -> String {
    values.iter().map(short).collect::<Vec<_>>().join(",")
}

/// A value by the names of the tasks that made it: `a` of `a(b,[c,d])`.
fn short(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.split('(').next().unwrap_or_default().to_owned(),
        serde_json::Value::Array(values) => format!("[{}]", shorts(values)),
        other => other.to_string(),
    }
}
