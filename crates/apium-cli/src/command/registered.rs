//! `registered`: lists the tasks of this program.

use crate::exit::Result;
use crate::output::print;
use crate::session::Session;

/// Options of `registered`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A library crate that the program never names is not linked, so its tasks are not listed and not run. \
Name it once (`use my_tasks as _;`), or register its tasks by hand."
)]
pub(crate) struct Args {}

/// Lists.
pub(crate) fn run(session: &Session, Args {}: &Args) -> Result<()> {
    let tasks = session.registered();
    if session.json {
        let list: Vec<_> = tasks
            .iter()
            .map(|task| serde_json::json!({ "name": task.name, "signature": task.signature, "aliases": task.aliases }))
            .collect();
        return print::json(&list.into());
    }
    let rows: Vec<Vec<String>> =
        tasks.into_iter().map(|task| vec![task.name, task.signature, task.aliases.join(", ")]).collect();
    print::table(&["task", "arguments", "aliases"], &[], &rows)
}
