//! A result as a reader of either side reads it.

use serde_json::{Value, json};

/// Everything that a reader reads of a result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadResult {
    pub(crate) state: String,
    /// The return value; null when it raises.
    pub(crate) value: Value,
    pub(crate) raised: Option<Raised>,
    pub(crate) traceback: Option<String>,
    /// The ids of the tasks that the task sent.
    pub(crate) children: Vec<String>,
    /// Every state that `on_message` received, with what was stored.
    pub(crate) messages: Vec<(String, Value)>,
}

/// What `get` raises.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raised {
    /// `module.Class`.
    pub(crate) class: String,
    pub(crate) args: Vec<Value>,
}

impl Raised {
    pub(crate) fn new(class: &str, args: Value) -> Self {
        Self { class: class.to_owned(), args: args.as_array().unwrap().clone() }
    }

    /// As a JSON value: `{"class": …, "args": …}`.
    pub(crate) fn as_json(&self) -> Value {
        json!({ "class": self.class, "args": self.args })
    }

    /// Reads an answer of `client.py`; `None` for a value that is no exception.
    pub(crate) fn read(shown: &Value) -> Option<Self> {
        Some(Self { class: shown["class"].as_str()?.to_owned(), args: shown["args"].as_array()?.clone() })
    }
}

impl ReadResult {
    /// Reads an answer of `client.py`.
    pub(crate) fn read(answer: &Value) -> Self {
        let state = answer["state"].as_str().unwrap().to_owned();
        let raised = Raised::read(&answer["value"]).filter(|_| state != "SUCCESS");
        let texts =
            |list: &Value| list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let read = |message: &Value| {
            let shown = Raised::read(&message[1]).map_or_else(|| message[1].clone(), |raised| raised.as_json());
            (message[0].as_str().unwrap().to_owned(), shown)
        };
        Self {
            value: if raised.is_some() { Value::Null } else { answer["value"].clone() },
            raised,
            traceback: answer["traceback"].as_str().map(str::to_owned),
            children: texts(&answer["children"]),
            messages: answer["messages"].as_array().unwrap().iter().map(read).collect(),
            state,
        }
    }

    /// The value of a SUCCESS.
    #[track_caller]
    pub(crate) fn success(&self) -> &Value {
        assert_eq!(self.state, "SUCCESS", "{self:?}");
        &self.value
    }

    /// What a FAILURE raises.
    #[track_caller]
    pub(crate) fn failure(&self) -> &Raised {
        assert_eq!(self.state, "FAILURE", "{self:?}");
        self.raised.as_ref().unwrap()
    }
}
