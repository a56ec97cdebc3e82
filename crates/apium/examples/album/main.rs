//! A service that makes photo albums. For each photo a chain fetches the picture and scales it down; when all
//! thumbnails are made, one more task publishes the page of the album. Without arguments it needs no server: it makes
//! one album on an embedded queue, with a worker in its own process.
//!
//! ```text
//! cargo run -p apium --example album
//! ```
//!
//! As a service it has a queue that several workers share:
//!
//! ```text
//! export APIUM_BROKER_URL=redis://localhost APIUM_RESULT_BACKEND=redis://localhost APIUM_APP__FOLDER=/srv/albums
//! album worker -c 8
//! album submit "One day" --photos 20
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the commands talk to people")]

mod journal;
mod picture;
mod studio;
mod submit;
mod tasks;

use std::process::ExitCode;

use apium::cli::Session;
use apium::cli::clap::{self, Subcommand};
use apium::prelude::*;

use crate::journal::Journal;
use crate::studio::{Options, Studio};

/// What the program can do beside the commands of Apium.
#[derive(Subcommand)]
enum Command {
    /// Order an album, show its progress, and wait until it is published
    Submit {
        /// The title of the album
        title: String,
        /// How many photos it has
        #[arg(long, default_value_t = 20)]
        photos: u32,
    },
}

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return apium::cli::main_with_commands(app, run);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match runtime.and_then(|runtime| runtime.block_on(alone())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What every process of the service agrees on. Where the queue is, it says nowhere: the settings do.
fn builder(studio: Studio) -> AppBuilder {
    App::builder("album")
        // A worker that dies does not take its photos along: another one gets them.
        .setting("task_acks_late", true)
        // But a picture that has killed three workers fails its album.
        .setting("worker_max_crashes", 3)
        // Who ordered an album has until tomorrow to ask for it.
        .setting("result_expires", "1d")
        .state(studio)
}

/// The app of the commands, with the settings of `apium.toml`, of the environment and of the command line.
async fn app(settings: Settings) -> Result<App, BoxError> {
    let Options { folder, journal, gate } = settings.app()?;
    let builder = builder(Studio::new(&folder)?).config(settings);
    let builder = match journal {
        Some(journal) => builder.work_layer(Journal::open(&journal, gate)?),
        None => builder,
    };
    Ok(builder.build().await?)
}

async fn run(session: Session, command: Command) -> Result<(), BoxError> {
    let Command::Submit { title, photos } = command;
    let album = submit::submit(&session.app, &title, photos, !session.json).await?;
    match session.json {
        true => println!("{}", serde_json::to_string(&album)?),
        false => println!("{album}"),
    }
    Ok(())
}

/// Everything in one process: a worker, and one who orders an album.
async fn alone() -> Result<(), BoxError> {
    let folder = tempfile::Builder::new().prefix("album-").tempdir()?.keep();
    let queue = format!("sqlite://{}", folder.join("queue.db").display());
    let app = builder(Studio::new(&folder)?).broker(&queue).backend(&queue).build().await?;
    let worker = app.worker().concurrency(4).start().await?;
    let album = submit::submit(&app, "One day", 20, true).await;
    worker.stop().await;
    app.close().await?;
    println!("{}", album?);
    Ok(())
}
