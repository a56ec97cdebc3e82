//! The output in the end: the most frequent words and a table of states.

use std::collections::BTreeMap;

use apium::prelude::*;

use crate::run::Run;
use crate::screen::say;
use crate::tasks::Totals;

/// The tasks of a state: their number, and the errors of failed ones.
#[derive(Default)]
struct Row {
    tasks: usize,
    errors: Vec<String>,
}

/// Prints the summary of a finished run.
pub(crate) async fn print(app: &App, run: &Run, totals: &AsyncResult<Totals>) -> Result<(), BoxError> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |name: &str, outcome: &Outcome<Json>| {
        let row = rows.entry(state(outcome).to_string()).or_default();
        row.tasks += 1;
        row.errors.extend(outcome.failure().map(|failure| format!("{name}: {failure}")));
    };
    if let Some(files) = totals.parent().and_then(AsyncResult::group) {
        for (outcome, file) in files.get().outcomes().await?.iter().zip(&run.files) {
            add(&file.display().to_string(), outcome);
        }
    }
    for (name, id) in &run.singles {
        add(name, &app.result(&**id).get().outcome().await?);
    }
    if let Outcome::Value(totals) = totals.get().outcome().await? {
        print_totals(&totals);
    }
    print_states(&rows);
    Ok(())
}

fn state(outcome: &Outcome<Json>) -> TaskState {
    match outcome {
        Outcome::Value(_) => TaskState::Success,
        Outcome::Failed(_) => TaskState::Failure,
        Outcome::Revoked(_) => TaskState::Revoked,
    }
}

fn print_totals(totals: &Totals) {
    let Totals { words, different, frequent, .. } = totals;
    say(&format!("\n{words} words, {different} different ones; the {} most frequent:", frequent.len()));
    for (word, times) in frequent {
        say(&format!("{times:>8}  {word}"));
    }
}

fn print_states(rows: &BTreeMap<String, Row>) {
    say("\nstate       tasks");
    for (state, row) in rows {
        say(&format!("{state:<10}  {:>5}", row.tasks));
    }
    for error in rows.values().flat_map(|row| &row.errors) {
        say(&format!("  {error}"));
    }
}
