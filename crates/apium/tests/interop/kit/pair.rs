//! A pair of producer and worker, and readers of both sides that must agree.

use apium::App;
use serde_json::{Value, json};

use crate::kit::python_client::BorrowedClient;
use crate::kit::read_result::{Raised, ReadResult};
use crate::kit::rust_client;
use crate::kit::side::Side;

/// The side that sends, the side that runs, and the readers of both sides.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rust: App,
    pub(crate) python: BorrowedClient,
    pub(crate) producer: Side,
    pub(crate) worker: Side,
}

impl Pair {
    /// Sends a call and returns its id.
    pub(crate) async fn call(&self, task: &str, args: Value, kwargs: Value, options: Value) -> String {
        match self.producer {
            Side::Rust => rust_client::send(&self.rust, task, &args, &kwargs, &options).await,
            Side::Python => {
                let request = json!({ "do": "send", "task": task, "args": args, "kwargs": kwargs, "options": options });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// Sends a call without a check of its arguments and returns its id.
    pub(crate) async fn call_by_name(&self, task: &str, args: Value, kwargs: Value) -> String {
        match self.producer {
            Side::Rust => self.call(task, args, kwargs, json!({})).await,
            Side::Python => {
                let request = json!({ "do": "send_by_name", "task": task, "args": args, "kwargs": kwargs });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// Sends a call with positional arguments only and returns its id.
    pub(crate) async fn send(&self, task: &str, args: Value) -> String {
        self.call(task, args, json!({}), json!({})).await
    }

    /// A result as one side reads it.
    pub(crate) async fn read(&self, side: Side, id: &str) -> ReadResult {
        match side {
            Side::Rust => rust_client::get(&self.rust, id).await,
            Side::Python => ReadResult::read(&self.python.ask(json!({ "do": "get", "id": id })).await),
        }
    }

    /// Reads a result on both sides, which must read the same.
    pub(crate) async fn get(&self, id: &str) -> ReadResult {
        let (one, two) = tokio::join!(self.read(Side::Rust, id), self.read(Side::Python, id));
        let without = |seen: &ReadResult| ReadResult { messages: Vec::new(), ..seen.clone() };
        assert_eq!(without(&one), without(&two), "Rust and Python read the same of {id}");
        // Celery sends no message for a result that is already stored.
        if let Some(last) = two.messages.last() {
            assert_eq!(one.messages.last(), Some(last), "the ready state is the last message");
        }
        one
    }

    /// Reads the state of a result, and what is stored with it, on both sides.
    pub(crate) async fn state(&self, id: &str) -> (String, Value) {
        let one = rust_client::state(&self.rust, id).await;
        let answer = self.python.ask(json!({ "do": "state", "id": id })).await;
        let info = Raised::read(&answer["info"]).map_or_else(|| answer["info"].clone(), |raised| raised.as_json());
        assert_eq!(one, (text(&answer["state"]), info), "Rust and Python read the same of {id}");
        one
    }

    /// The return value of a call.
    pub(crate) async fn value(&self, task: &str, args: Value, options: Value) -> Value {
        let id = self.call(task, args, json!({}), options).await;
        self.get(&id).await.success().clone()
    }

    /// The arguments of the exception, if Python's `except` of a class (`module.Class`) catches it.
    pub(crate) async fn caught(&self, id: &str, by: &str) -> Option<Vec<Value>> {
        let answer = self.python.ask(json!({ "do": "caught", "id": id, "by": by })).await;
        Raised::read(&answer["caught"]).map(|raised| raised.args)
    }
}

/// A text in an answer.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A list of texts in an answer.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

/// Makes a test for every pair of producer and worker from each function.
macro_rules! on_every_pair {
    ($($(#[$meta:meta])* async fn $name:ident($pair:ident: &Pair) $body:block)*) => {
        $($(#[$meta])* async fn $name($pair: &$crate::kit::pair::Pair) $body)*

        on_every_pair!(@ rust_to_rust Rust Rust $($name)*);
        on_every_pair!(@ rust_to_python Rust Python $($name)*);
        on_every_pair!(@ python_to_rust Python Rust $($name)*);
        on_every_pair!(@ python_to_python Python Python $($name)*);

        mod rust_to_children {
            use $crate::kit::deployment::Deployment;
            use $crate::kit::side::Side;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let pair = Deployment::shared_children().pair(Side::Rust).await;
                Box::pin(super::$name(&pair)).await;
            })*
        }
    };
    (@ $module:ident $producer:ident $worker:ident $($name:ident)*) => {
        mod $module {
            use $crate::kit::side::Side;
            use $crate::kit::deployment::Deployment;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let pair = Deployment::shared(Side::$worker).pair(Side::$producer).await;
                Box::pin(super::$name(&pair)).await;
            })*
        }
    };
}
