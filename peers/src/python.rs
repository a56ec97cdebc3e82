//! Python with Celery in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::directory;
use crate::guarded::Guarded;
use crate::target;

/// The environment variable that names another Python than that of `cargo xtask peers`.
pub const PROGRAM: &str = "APIUM_PYTHON";

/// How long a script may run.
const LIMIT: Duration = Duration::from_secs(300);

/// An interpreter that can import Celery.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

/// The output of a script, and how it ended.
#[derive(Debug, Clone)]
pub struct ScriptOutput {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl ScriptOutput {
    /// Its standard output without the last line break. Panics with all of its output when it failed.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end()
    }
}

impl Python {
    /// The interpreter that [`PROGRAM`] names, or else the one of `cargo xtask peers`.
    #[track_caller]
    pub fn find() -> Self {
        if let Some(program) = std::env::var_os(PROGRAM).filter(|name| !name.is_empty()) {
            return Self { program: program.into() };
        }
        let program =
            target::venv().map(|venv| target::python(&venv)).unwrap_or_else(|error| panic!("could not {error}"));
        assert!(
            program.is_file(),
            "could not find Python with Celery at {}: `cargo xtask test` makes it before it runs the tests, \
             `cargo xtask peers` makes it and nothing else",
            program.display()
        );
        Self { program }
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command of this Python in the folder of the project's Python programs, where `import tasks` finds `tasks.py`.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(programs());
        // No compiled files beside the sources, and no buffered output.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1").envs(env.iter().copied());
        command
    }

    /// Runs Python with these arguments (`["script.py", "x"]`, `["-c", "print(1)"]`) to its end, for five minutes at
    /// most.
    #[track_caller]
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>, env: &[(&str, &str)]) -> ScriptOutput {
        let command = self.command(args, env);
        try_run(&command).unwrap_or_else(|error| panic!("could not run {command:?}: {error}"))
    }
}

/// Runs the Python of [`Python::find`]: see [`Python::run`].
#[track_caller]
pub fn run_python<'a>(args: impl IntoIterator<Item = &'a str>, env: &[(&str, &str)]) -> ScriptOutput {
    Python::find().run(args, env)
}

/// The folder of the project's Python programs.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop")
}

fn try_run(command: &Command) -> Result<ScriptOutput, String> {
    let directory = directory::private()?;
    let errors = directory.join("stderr");
    let mut apart = Command::new("sh");
    apart.args(["-c", r#"exec "$@" 2>"$0""#]).arg(&errors);
    apart.arg(command.get_program()).args(command.get_args());
    apart.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    apart.current_dir(programs());
    let mut guarded = Guarded::start(&apart, Some(&directory)).map_err(|error| format!("start a shell: {error}"))?;
    let status = guarded.wait(LIMIT);
    let err = std::fs::read(&errors).map_err(|error| format!("read {}: {error}", errors.display()))?;
    let (out, err) = (guarded.log().text(), String::from_utf8_lossy(&err).into_owned());
    match status.and_then(|status| status.code()) {
        Some(code) => Ok(ScriptOutput { code, out, err }),
        None => Err(format!("it has not ended after {} s; it printed:\n{out}\n{err}", LIMIT.as_secs())),
    }
}
