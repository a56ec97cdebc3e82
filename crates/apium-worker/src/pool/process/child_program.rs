//! How a child is started: this program once more, with one argument that tells it apart.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use serde::Deserialize;

use crate::pool::process::messages::ResultsBy;

/// How a worker starts the children of its pool of processes: the program starts itself once more.
///
/// The command line (`apium::cli::main`) has it. A program that starts its worker itself makes one in the first line of
/// its `main` and gives it to [`WorkerBuilder::child_program`](crate::builder::WorkerBuilder::child_program):
///
/// ```no_run
/// # use apium_app::app::app::App;
/// # use apium_worker::builder::AppWorker;
/// # use apium_worker::pool::kind::PoolKind;
/// # use apium_worker::pool::process::child_program::ChildProgram;
/// # type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// async fn app() -> Result<App, BoxError> {
///     Ok(App::builder("proj").broker("redis://").build().await?)
/// }
///
/// fn main() -> Result<(), BoxError> {
///     let children = ChildProgram::of(app);
///     // A child does not come here.
/// #   let runtime = tokio::runtime::Runtime::new()?;
///     runtime.block_on(async {
///         app().await?.worker().pool(PoolKind::Processes).child_program(children).run().await?;
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone)]
pub struct ChildProgram {
    program: PathBuf,
    name: OsString,
    args: Vec<OsString>,
    python: Option<PythonApp>,
}

/// A Celery app, as children in Python load it.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct PythonApp {
    /// Where it is, as `celery -A` takes it.
    pub app: Arc<str>,
    /// What is logged, as Python names it.
    pub loglevel: Arc<str>,
    /// Who stores results.
    pub results: ResultsBy,
    /// What it answers to inspections.
    pub inspected: Option<Arc<InspectedApp>>,
}

/// What Celery's worker answers to `conf` and `report`, as a child has told it: JSON, without secrets.
#[doc(hidden)]
#[derive(Debug, Deserialize)]
pub struct InspectedApp {
    pub(crate) conf: Json,
    pub(crate) conf_with_defaults: Json,
    pub(crate) report: String,
}

/// Takes the channel and the program of a child in Python, and runs it.
const PYTHON_STUB: &str = include_str!("python/stub.py");
/// The program of a child in Python.
const PYTHON_CHILD: &str = include_str!("python/child.py");

impl ChildProgram {
    /// This program with the arguments that it has, and one more.
    #[doc(hidden)]
    pub fn again_with(argument: &str) -> Self {
        Self::with_args(std::env::args_os().skip(1).chain([argument.into()]).collect())
    }

    pub(crate) fn with_args(args: Vec<OsString>) -> Self {
        let name = std::env::args_os().next().unwrap_or_default();
        // The file that runs, also when another one has taken its place on the disk.
        let own = PathBuf::from("/proc/self/exe");
        let program = if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| (&name).into()) };
        Self { program, name, args, python: None }
    }

    /// A Celery app in this interpreter.
    #[doc(hidden)]
    pub fn python(interpreter: PathBuf, app: PythonApp) -> Self {
        let name = interpreter.clone().into_os_string();
        Self { program: interpreter, name, args: vec!["-c".into(), PYTHON_STUB.into()], python: Some(app) }
    }

    /// The Celery app, for children in Python.
    pub(crate) fn python_app(&self) -> Option<&PythonApp> {
        self.python.as_ref()
    }

    /// What the Celery app answers to inspections.
    pub(crate) fn inspected(&self) -> Option<Arc<InspectedApp>> {
        self.python.as_ref()?.inspected.clone()
    }

    /// What a child that is no program by itself gets first.
    pub(crate) fn text(&self) -> Option<&'static str> {
        self.python.as_ref().map(|_| PYTHON_CHILD)
    }

    /// The command of a child. What it inherits, and its channel, are the spawner's.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.name).args(&self.args);
        command
    }
}

impl fmt::Debug for ChildProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may have addresses with passwords.
        f.debug_struct("ChildProgram").field("name", &self.name).finish_non_exhaustive()
    }
}
