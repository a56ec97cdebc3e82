//! A program with commands of its own beside those of Apium, also for its workers, and with a layer around their runs.
//!
//! ```text
//! own_commands import-users --file users.txt
//! own_commands worker
//! own_commands inspect greeting name=ada
//! own_commands --help
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

use std::path::PathBuf;
use std::process::ExitCode;

use apium::cli::Session;
use apium::cli::clap::{self, Subcommand};
use apium::prelude::*;
use apium::worker::{ControlCall, Next, RunOutcome, WorkLayer};
use futures_util::future::BoxFuture;

/// What `own_commands` can do beside the built-in commands.
#[derive(Subcommand)]
enum Command {
    /// Send a greeting to every user of a file
    ImportUsers {
        /// A file with one name a line
        #[arg(long)]
        file: PathBuf,
        /// The most users that may be in the file
        #[arg(long, default_value_t = 1000)]
        most: usize,
    },
}

#[task(name = "users.greet")]
async fn greet(name: String) -> TaskResult<String> {
    Ok(format!("hello {name}"))
}

/// Prints how each run ended.
struct Announced;

impl WorkLayer for Announced {
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            let outcome = next.run().await;
            let end = if matches!(outcome, RunOutcome::Success(_)) { "succeeded" } else { "did not succeed" };
            println!("{} {end}", ctx.task_name());
            outcome
        })
    }
}

async fn run(session: Session, command: Command) -> Result<ExitCode, BoxError> {
    match command {
        Command::ImportUsers { file, most } => {
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let users: Vec<&str> = text.lines().collect();
            if users.len() > most {
                eprintln!("there are {} users, and --most is {most}", users.len());
                return Ok(ExitCode::from(9));
            }
            for user in users {
                let sent = greet::delay(user.to_owned()).send(&session.app).await?;
                if session.json {
                    println!("{}", serde_json::json!({ "user": user, "task_id": sent.id() }));
                } else {
                    println!("{user} is greeted by {}", sent.id());
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn app(settings: Settings) -> Result<App, BoxError> {
    let builder = App::builder("own_commands").config(settings).work_layer(Announced);
    // What its workers answer to `own_commands inspect greeting name=ada`.
    let builder = builder.inspect_command("greeting", "How a user is greeted", async |call: ControlCall| {
        let name: Option<String> = call.argument("name")?;
        name.map(|name| format!("hello {name}")).ok_or_else(|| BoxError::from("the argument `name` is missing"))
    });
    Ok(builder.build().await?)
}

fn main() -> ExitCode {
    apium::cli::main_with_commands(app, run)
}
