//! The arguments of a command, checked against its parameters as Python checks those of a function.

use apium_protocol::json::text::Json;
use apium_protocol::value::repr_plain::repr;
use apium_protocol::value::value::Value;

use crate::control::python_error::{PythonError, quoted};

/// The parameters of a command.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// The name of the command.
    pub(crate) name: &'static str,
    pub(crate) required: &'static [&'static str],
    pub(crate) optional: &'static [&'static str],
    /// Whether it takes arguments of other names, and does not look at them.
    pub(crate) takes_others: bool,
}

/// The arguments of one call.
#[derive(Debug)]
pub(crate) struct GivenArguments<'a>(&'a [(String, Json)]);

impl<'a> GivenArguments<'a> {
    /// Checks that nothing is missing, and that nothing is there that the command does not take.
    ///
    /// # Errors
    /// The `TypeError` that Python has for it.
    pub(crate) fn read(parameters: &Parameters, given: &'a [(String, Json)]) -> Result<Self, PythonError> {
        let Parameters { name, required, optional, takes_others } = parameters;
        let is_known = |key: &str| required.contains(&key) || optional.contains(&key);
        if let Some((key, _)) = given.iter().find(|(key, _)| !takes_others && !is_known(key)) {
            let text = format!("{name}() got an unexpected keyword argument {}", quoted(key));
            return Err(PythonError::type_error(&text));
        }
        let missing: Vec<String> = required
            .iter()
            .filter(|key| !given.iter().any(|(given, _)| given == *key))
            .map(|key| quoted(key))
            .collect();
        let listed = match missing.as_slice() {
            [] => return Ok(Self(given)),
            [one] => one.clone(),
            [first, second] => format!("{first} and {second}"),
            [first @ .., last] => format!("{}, and {last}", first.join(", ")),
        };
        let (count, s) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
        let text = format!("{name}() missing {count} required positional argument{s}: {listed}");
        Err(PythonError::type_error(&text))
    }

    /// An argument that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// A value as Python's `if` takes it.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        let is_false = |json: &Json| match json.to_value() {
            Ok(Value::Bool(yes)) => !yes,
            Ok(Value::Str(text)) => text.is_empty(),
            Ok(Value::List(items)) => items.is_empty(),
            Ok(Value::Map(entries)) => entries.is_empty(),
            Ok(value) => value.is_null() || value.as_f64() == Some(0.0),
            Err(_) => false,
        };
        self.get(name).is_some_and(|json| !is_false(json))
    }

    /// A text.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, PythonError> {
        self.get(name).map(|json| json.decode().map_err(|_| wrong(name, "a str", json))).transpose()
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// If it is null or something else.
    pub(crate) fn needed_text(&self, name: &str) -> Result<String, PythonError> {
        self.text(name)?.ok_or_else(|| wrong(name, "a str", &Json::NULL))
    }

    /// A number of seconds above 0; `None` where it is null.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<std::time::Duration>, PythonError> {
        let Some(json) = self.get(name) else { return Ok(None) };
        let seconds = number(json).filter(|seconds| *seconds > 0.0);
        let span = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
        span.map(Some).ok_or_else(|| wrong(name, "a number of seconds above 0", json))
    }

    /// A whole number from 0; `default` where it is missing or null.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn count(&self, name: &str, default: usize) -> Result<usize, PythonError> {
        let Some(json) = self.get(name) else { return Ok(default) };
        // The tools of Celery may send a number as text.
        let read = json.decode::<usize>().ok().or_else(|| json.decode::<String>().ok()?.trim().parse().ok());
        read.ok_or_else(|| wrong(name, "a whole number from 0", json))
    }

    /// A text or a list of texts, each once, in order; nothing where it is null.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, PythonError> {
        let Some(json) = self.get(name) else { return Ok(Vec::new()) };
        let texts = match json.decode::<Vec<String>>() {
            Ok(texts) => texts,
            Err(_) => vec![json.decode::<String>().map_err(|_| wrong(name, "a str or a list of str", json))?],
        };
        let mut seen = std::collections::HashSet::with_capacity(texts.len());
        let mut each_once = texts.clone();
        each_once.retain(|text| seen.insert(text.clone()));
        Ok(each_once)
    }
}

/// A number, or the text of one.
pub(crate) fn number(json: &Json) -> Option<f64> {
    json.decode::<f64>().ok().or_else(|| json.decode::<String>().ok()?.trim().parse().ok())
}

fn wrong(name: &str, wanted: &str, given: &Json) -> PythonError {
    let shown: String = repr(given).chars().take(80).collect();
    PythonError::type_error(&format!("{name} must be {wanted}, not {shown}"))
}
