//! A worker with the tasks of Celery's integration tests, made with Apium: the names and the behaviour are those of
//! `t/integration/tasks.py` in the source distribution of Celery.
#![expect(clippy::disallowed_names, reason = "a parameter has the name that callers in Python give it")]

mod errbacks;
mod failing;
mod numbers;
mod python;
mod replacing;
mod requests;
mod retrying;
mod store;
mod workflows;

use std::process::ExitCode;

use apium::prelude::*;

fn main() -> ExitCode {
    apium::cli::main(app)
}

/// With the tasks of the tests themselves it has none of its own.
async fn app(settings: Settings) -> Result<App, BoxError> {
    let builder = App::builder("celery-suite").config(settings);
    let builder = match std::env::var_os("SUITE_PYTHON") {
        Some(_) => builder.autodiscover(false),
        None => builder.register_task(retrying::ClassBasedAutoRetryTask),
    };
    Ok(builder.build().await?)
}
