//! A small program, as one would ship it: a command line with a worker, a worker alone, or a caller. Its size by its
//! features is what `cargo xtask release sizes` tells.
#![cfg_attr(not(feature = "cli"), expect(clippy::print_stdout, reason = "a program for people prints its result"))]

use apium::prelude::*;

#[task(name = "sizes.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    Ok(App::builder("sizes").config(settings).build().await?)
}

#[cfg(feature = "cli")]
fn main() -> std::process::ExitCode {
    apium::cli::main(app)
}

#[cfg(not(feature = "cli"))]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut settings = Settings::new();
    settings.add_env(std::env::vars())?;
    let app = app(settings).await?;
    #[cfg(feature = "worker")]
    let _worker = app.worker().start().await?;
    println!("{}", add::delay(2, 2).send(&app).await?.get().await?);
    Ok(())
}
