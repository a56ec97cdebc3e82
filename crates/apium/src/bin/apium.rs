//! The stand-alone binary: everything of the command line that needs no task code.

use std::process::ExitCode;

use apium::prelude::*;

fn main() -> ExitCode {
    apium::cli::main_without_tasks(app)
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    Ok(App::builder("apium").config(settings).build().await?)
}
