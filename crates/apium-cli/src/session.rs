//! What a subcommand works with: the app, and how to print.

use apium_app::app::app::App;
use apium_app::app::no_broker::{NO_BROKER, is_none};
use apium_app::error::ErrorKind;
use apium_app::task::arguments::{Parameter, ParameterList};
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::queue_admin::QueueAdmin;
use apium_transport::error::Result as TransportResult;

use crate::exit::{CommandError, Result};

/// What a command works with: the app, and what the global options say about the output.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Session {
    /// The app, which the program's own function built from the settings of this command line. It is closed when the
    /// command ends.
    pub app: App,
    /// Whether stdout gets JSON (`--json`).
    pub json: bool,
}

/// A task of this program.
pub(crate) struct TaskRow {
    /// Its name.
    pub(crate) name: String,
    /// Its parameters in a message, as Python writes them.
    pub(crate) signature: String,
    /// Its other names.
    pub(crate) aliases: Vec<String>,
}

impl Session {
    /// The result backend, or an error that says that none is configured.
    pub(crate) fn backend(&self) -> Result<SharedBackend> {
        Self::named(self.app.backend())
    }

    /// The result backend of a task, or an error that says that none is configured.
    pub(crate) fn backend_of(&self, task: &str) -> Result<SharedBackend> {
        Self::named(self.app.backend_of(task))
    }

    fn named(backend: Option<&SharedBackend>) -> Result<SharedBackend> {
        let none =
            || apium_app::error::Error::new(ErrorKind::NoBackend, "read results: no result backend is configured");
        Ok(backend.cloned().ok_or_else(none)?)
    }

    /// Does one operation at the broker, and again while it does not answer, as long as publishing may take.
    pub(crate) async fn ask_broker<T, F: Future<Output = TransportResult<T>>>(
        &self,
        operation: impl FnMut() -> F,
    ) -> Result<T> {
        Ok(self.app.ask(self.app.broker().address(), operation).await?)
    }

    /// Counting and purging of queues.
    pub(crate) fn queue_admin(&self) -> Result<&dyn QueueAdmin> {
        let broker = self.app.broker();
        broker.queues().ok_or_else(|| match is_none(&**broker) {
            true => CommandError::usage(format!("look at queues: {NO_BROKER}")),
            false => CommandError::usage(format!("look at queues: the broker {} cannot list them", broker.address())),
        })
    }

    /// The names of the queues of the settings.
    pub(crate) fn configured_queues(&self) -> Vec<String> {
        self.app.config().queue_names()
    }

    /// The tasks of this program, sorted by name.
    pub(crate) fn registered(&self) -> Vec<TaskRow> {
        let mut tasks: Vec<TaskRow> = self
            .app
            .registry()
            .iter()
            .map(|task| TaskRow {
                name: task.name.to_string(),
                signature: signature(&task.parameters),
                aliases: task.aliases.iter().map(ToString::to_string).collect(),
            })
            .collect();
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        tasks
    }
}

/// Parameters as Python writes them; `=…` marks one that may be left out.
fn signature(parameters: &ParameterList) -> String {
    let written = |parameter: &Parameter| match parameter.optional {
        true => format!("{}=…", parameter.name),
        false => parameter.name.to_owned(),
    };
    let (by_position, by_keyword) = parameters.named.split_at(parameters.positional());
    let star = match parameters.var_args {
        true => Some("*args"),
        false => (!by_keyword.is_empty()).then_some("*"),
    };
    let mut words: Vec<String> = by_position.iter().map(written).collect();
    words.extend(star.map(str::to_owned));
    words.extend(by_keyword.iter().map(written));
    words.extend(parameters.var_kwargs.then(|| "**kwargs".to_owned()));
    words.join(", ")
}
