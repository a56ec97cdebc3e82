//! One way of a call: a producer of one side, a worker of one side, and readers of both sides that must agree.

use apium::App;
use serde_json::{Value, json};

use crate::python::Borrowed;
use crate::rust;
use crate::seen::{Raised, Seen};
use crate::side::Side;

/// Who sends, who works, and who reads: both.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) rust: App,
    pub(crate) python: Borrowed,
    pub(crate) producer: Side,
    pub(crate) worker: Side,
}

impl Lane {
    /// Sends a call; its id.
    pub(crate) async fn call(&self, task: &str, args: Value, kwargs: Value, options: Value) -> String {
        match self.producer {
            Side::Rust => rust::send(&self.rust, task, &args, &kwargs, &options).await,
            Side::Python => {
                let request = json!({ "do": "send", "task": task, "args": args, "kwargs": kwargs, "options": options });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// Sends a call whose arguments nobody checks; its id.
    pub(crate) async fn call_by_name(&self, task: &str, args: Value, kwargs: Value) -> String {
        match self.producer {
            Side::Rust => self.call(task, args, kwargs, json!({})).await,
            Side::Python => {
                let request = json!({ "do": "send_by_name", "task": task, "args": args, "kwargs": kwargs });
                text(&self.python.ask(request).await["id"])
            }
        }
    }

    /// Sends a call with positional arguments only; its id.
    pub(crate) async fn send(&self, task: &str, args: Value) -> String {
        self.call(task, args, json!({}), json!({})).await
    }

    /// A result as one side reads it.
    pub(crate) async fn read(&self, side: Side, id: &str) -> Seen {
        match side {
            Side::Rust => rust::get(&self.rust, id).await,
            Side::Python => Seen::read(&self.python.ask(json!({ "do": "get", "id": id })).await),
        }
    }

    /// A result as both sides read it, which must be the same.
    pub(crate) async fn get(&self, id: &str) -> Seen {
        let (one, two) = tokio::join!(self.read(Side::Rust, id), self.read(Side::Python, id));
        let without = |seen: &Seen| Seen { messages: Vec::new(), ..seen.clone() };
        assert_eq!(without(&one), without(&two), "Rust and Python read the same of {id}");
        // Celery tells nothing of a result that is there already.
        if let Some(last) = two.messages.last() {
            assert_eq!(one.messages.last(), Some(last), "the ready state is told last");
        }
        one
    }

    /// The state of a result and what is stored with it, as both sides read it.
    pub(crate) async fn state(&self, id: &str) -> (String, Value) {
        let one = rust::state(&self.rust, id).await;
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

    /// What Python's `except` of a class (`module.Class`) catches of a result: the arguments.
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

/// Makes of each test one for every pair of producer and worker.
macro_rules! on_every_lane {
    ($($(#[$meta:meta])* async fn $name:ident($lane:ident: &Lane) $body:block)*) => {
        $($(#[$meta])* async fn $name($lane: &$crate::lane::Lane) $body)*

        on_every_lane!(@ rust_to_rust Rust Rust $($name)*);
        on_every_lane!(@ rust_to_python Rust Python $($name)*);
        on_every_lane!(@ python_to_rust Python Rust $($name)*);
        on_every_lane!(@ python_to_python Python Python $($name)*);
    };
    (@ $module:ident $producer:ident $worker:ident $($name:ident)*) => {
        mod $module {
            use $crate::side::Side;
            use $crate::world::World;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let lane = World::everyday(Side::$worker).lane(Side::$producer).await;
                Box::pin(super::$name(&lane)).await;
            })*
        }
    };
}
