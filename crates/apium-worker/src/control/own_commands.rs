//! The commands of one's own that a worker has.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use apium_app::app::app::App;
use apium_protocol::json::text::Json;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::control::call::ControlCall;

/// What runs a command of one's own: its value, or the text of its error.
type Run = Arc<dyn Fn(ControlCall) -> BoxFuture<'static, Result<Json, String>> + Send + Sync>;

/// A command of one's own.
#[derive(Clone)]
pub(crate) struct OwnCommand {
    pub(crate) name: String,
    pub(crate) help: String,
    /// Whether it only looks.
    pub(crate) inspects: bool,
    pub(crate) run: Run,
}

impl OwnCommand {
    pub(crate) fn new<F, Fut, T, E>(name: String, help: String, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        let run: Run = Arc::new(move |call| {
            let running = command(call);
            Box::pin(async move {
                let value = running.await.map_err(|error| format!("{error:#}"))?;
                Json::from_serialize(&value).map_err(|error| format!("could not {error:#}"))
            })
        });
        Self { name, help, inspects: false, run }
    }

    /// The same command as one that only looks.
    pub(crate) fn inspecting(self) -> Self {
        Self { inspects: true, ..self }
    }
}

/// The commands of one's own of an app or a worker.
#[derive(Clone, Default)]
pub(crate) struct OwnControlCommands(pub(crate) Vec<OwnCommand>);

impl OwnControlCommands {
    /// Those of an app.
    pub(crate) fn of(app: &App) -> Self {
        app.states().get::<Self>().cloned().unwrap_or_default()
    }

    /// These and the others.
    pub(crate) fn with(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(crate) fn add(&mut self, command: OwnCommand) {
        self.0.push(command);
    }

    pub(crate) fn find(&self, name: &str) -> Option<&OwnCommand> {
        self.0.iter().find(|command| command.name == name)
    }
}

impl fmt::Debug for OwnControlCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|command| &command.name)).finish()
    }
}
