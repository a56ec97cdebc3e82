//! The binary `apium`: the commands that need no code of tasks.

use std::process::ExitCode;

use apium::prelude::*;

fn main() -> ExitCode {
    apium::cli::main_without_tasks(app)
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    Ok(App::builder("apium").config(settings).build().await?)
}
