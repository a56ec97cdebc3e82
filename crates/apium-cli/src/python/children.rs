//! How the children with a Celery app are started, and what the app says to the worker.

use std::sync::Arc;

use apium_app::config::settings::Settings;
use apium_worker::pool::process::child_program::{ChildProgram, PythonApp};
use apium_worker::pool::process::lifecycle::describe;
use apium_worker::pool::process::messages::ResultsBy;

use crate::args::Global;
use crate::command::worker::Args;
use crate::exit::{CommandError, Result};
use crate::python::description::Description;
use crate::python::{app_settings, app_tasks, interpreter};

/// Reads the app that `-A` names, adds its settings and its tasks, and returns how its children are started.
pub(crate) async fn children(args: &Args, global: &Global, settings: &mut Settings) -> Result<Option<ChildProgram>> {
    let Some(name) = &args.app else { return Ok(None) };
    let interpreter = interpreter::find(args.python.as_deref());
    let app = PythonApp {
        app: name.as_str().into(),
        loglevel: python_level(global.loglevel.as_deref().unwrap_or("info")).into(),
        results: ResultsBy::Child,
        inspected: None,
    };
    let shown = interpreter.display().to_string();
    let described = describe(ChildProgram::python(interpreter.clone(), app.clone())).await.map_err(|text| {
        CommandError::usage(format!("load the Celery app {name} with {shown}: {text}")).hint(
            "name another interpreter with --python; APP is what `celery -A APP worker` takes, and a program that has \
                   tasks in Rust runs them without -A",
        )
    })?;
    let described: Description = described.decode().map_err(|error| {
        CommandError::usage(format!(
            "load the Celery app {name} with {shown}: its description cannot be read: {error:#}"
        ))
    })?;
    tracing::info!(
        python = described.python,
        celery = described.celery,
        tasks = described.tasks.len(),
        "the Celery app {name} runs in child processes of {shown}"
    );
    let results = app_settings::add(&described, settings)?;
    described.tasks.iter().for_each(|task| settings.add_foreign(app_tasks::task(task, name)));
    let inspected = Some(Arc::new(described.inspected));
    Ok(Some(ChildProgram::python(interpreter, PythonApp { results, inspected, ..app })))
}

/// What is logged, as Python names it.
fn python_level(level: &str) -> &'static str {
    match level {
        "error" => "ERROR",
        "warn" | "warning" => "WARNING",
        "debug" | "trace" => "DEBUG",
        "off" => "CRITICAL",
        _ => "INFO",
    }
}
