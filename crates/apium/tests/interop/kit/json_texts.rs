//! Calls and results as JSON texts, for values that `serde_json` cannot contain: half a surrogate pair, deep nesting.

use apium::canvas::{CallSpec, Node, TaskNode, send};
use apium::prelude::*;
use apium::task::Arguments;
use serde_json::{Value, json};

use crate::kit::pair::{Pair, text};
use crate::kit::rust_client::PATIENCE;
use crate::kit::side::Side;

/// A result: its state, and its value or its exception's arguments as JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TextResult {
    pub(crate) state: String,
    pub(crate) text: String,
    pub(crate) has_traceback: bool,
}

impl Pair {
    /// Calls a task with arguments that are a JSON list, and then each of the tasks `then` with the result before it.
    pub(crate) async fn call_text(&self, task: &str, args: &str, options: Value, then: &[&str]) -> String {
        match self.producer {
            Side::Rust => {
                let mut first = CallSpec::named(task.to_owned(), Arguments::new(list(args), Vec::new()));
                first.options.serializer = options["serializer"].as_str().map(|name| name.to_owned().into());
                let steps = then.iter().map(|name| call(name, Vec::new()));
                let node = Node::chain(std::iter::once(Node::Task(TaskNode::new(first))).chain(steps));
                send(&self.rust, node).await.unwrap().id.to_string()
            }
            Side::Python => {
                let request =
                    json!({ "do": "send_text", "task": task, "args": args, "options": options, "then": then });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// Calls a chord: `task` with each of the values, which are a JSON list, and `body` with the results.
    pub(crate) async fn chord_text(&self, task: &str, values: &str, body: &str) -> String {
        match self.producer {
            Side::Rust => {
                let header = list(values).into_iter().map(|value| call(task, vec![value]));
                send(&self.rust, Node::chord(header, call(body, Vec::new()))).await.unwrap().id.to_string()
            }
            Side::Python => {
                let request = json!({ "do": "send_chord_text", "task": task, "values": values, "body": body });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// A result as Rust reads it.
    pub(crate) async fn text_in_rust(&self, id: &str) -> TextResult {
        let result = self.rust.result::<Json>(id);
        result.get().timeout(PATIENCE).outcome().await.unwrap();
        let last = result.document().await.unwrap().unwrap();
        let text = match last.exception() {
            Some(exception) => Json::from_serialize(&exception.exc_message).unwrap(),
            None => last.result,
        };
        TextResult { state: last.state.to_string(), text: text.to_string(), has_traceback: last.traceback.is_some() }
    }

    /// A result as both sides read it, which must read the same.
    pub(crate) async fn text(&self, id: &str) -> TextResult {
        let (rust, answer) =
            tokio::join!(self.text_in_rust(id), self.python.ask(json!({ "do": "get_text", "id": id })));
        let python = TextResult {
            state: text(&answer["state"]),
            text: text(&answer["text"]),
            has_traceback: answer["has_traceback"].as_bool().unwrap(),
        };
        assert_eq!(rust, python, "Rust and Python read the same of {id}");
        rust
    }
}

/// A JSON list as values.
pub(crate) fn list(text: &str) -> Vec<Json> {
    Json::from_text(text).unwrap().decode().unwrap()
}

/// A call as a part of a workflow.
pub(crate) fn call(task: &str, args: Vec<Json>) -> Node {
    Node::Task(TaskNode::new(CallSpec::named(task.to_owned(), Arguments::new(args, Vec::new()))))
}
