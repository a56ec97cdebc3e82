//! Commands of one's own for remote control: `.control_command("name", "what it does", async |call| …)` and
//! `.inspect_command(…)` on the builder of an app or a worker (Celery: `@control_command`, `@inspect_command`).

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::error::{Error, ErrorKind, Result};
use apium_protocol::json::text::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::own_commands::{OwnCommand, OwnControlCommands};

/// A call of a command of one's own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ControlCall {
    /// The node that was called.
    pub node: Arc<str>,
    /// The arguments by name, in the order in which they were given.
    pub arguments: Vec<(String, Json)>,
}

impl ControlCall {
    pub(crate) fn new(node: Arc<str>, arguments: Vec<(String, Json)>) -> Self {
        Self { node, arguments }
    }

    /// The argument of this name; `None` where it is missing or null.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] when it is of another type.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let given = self.arguments.iter().find(|(key, value)| key == name && !value.is_null());
        given.map(|(_, value)| value.decode()).transpose().map_err(|error| {
            Error::new(ErrorKind::Call, format!("read the argument `{name}` of a command")).with_source(error)
        })
    }
}

/// A command of one's own, as lists of commands show it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedCommand {
    /// Its name.
    pub name: String,
    /// What it does, in one line.
    pub help: String,
    /// Whether it is asked by `inspect`, and not called by `control`.
    pub inspects: bool,
}

/// The commands that an app gives to all its workers, as they were added.
pub fn own_control_commands(app: &App) -> Vec<ListedCommand> {
    let listed = |OwnCommand { name, help, inspects, .. }| ListedCommand { name, help, inspects };
    OwnControlCommands::of(app).0.into_iter().map(listed).collect()
}

/// Adds [`control_command`](Self::control_command) and [`inspect_command`](Self::inspect_command) to [`AppBuilder`].
pub trait AppControlCommands: Sized {
    /// Adds a command for remote control to every worker of this app. `help` is one line for lists of commands. Whoever
    /// calls it gets the value that it returns, or its error as text. A command runs beside others, for 30 s at most. A
    /// worker does not start with a command whose name another one has.
    fn control_command<F, Fut, T, E>(self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display;

    /// The same for a command that only looks: lists show it among those of `inspect`.
    fn inspect_command<F, Fut, T, E>(self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display;
}

impl AppControlCommands for AppBuilder {
    fn control_command<F, Fut, T, E>(self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        let command = OwnCommand::new(name.into(), help.into(), command);
        self.change_state(|commands: &mut OwnControlCommands| commands.add(command))
    }

    fn inspect_command<F, Fut, T, E>(self, name: impl Into<String>, help: impl Into<String>, command: F) -> Self
    where
        F: Fn(ControlCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        let command = OwnCommand::new(name.into(), help.into(), command).inspecting();
        self.change_state(|commands: &mut OwnControlCommands| commands.add(command))
    }
}
