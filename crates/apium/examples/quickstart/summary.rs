//! What is printed at the end: the most frequent words and a table of states.

use std::collections::BTreeMap;

use apium::prelude::*;

use crate::run::Run;
use crate::screen::say;
use crate::tasks::Words;

/// How many words are shown.
const SHOWN: usize = 10;

/// The tasks of one state: how many, and what the failed ones said.
#[derive(Default)]
struct Row {
    tasks: usize,
    errors: Vec<String>,
}

/// Prints the summary of a finished run.
pub(crate) async fn print(app: &App, run: &Run, group: &GroupResult<Words>) -> Result<(), BoxError> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |name: &str, state: TaskState, failure: Option<&Failure>| {
        let row = rows.entry(state.to_string()).or_default();
        row.tasks += 1;
        row.errors.extend(failure.map(|failure| format!("{name}: {failure}")));
    };
    let mut total = Words::new();
    for (outcome, file) in group.get().outcomes().await?.into_iter().zip(&run.files) {
        add(&file.display().to_string(), state(&outcome), outcome.failure());
        for (word, count) in outcome.value().into_iter().flatten() {
            *total.entry(word).or_default() += count;
        }
    }
    for (name, id) in &run.singles {
        let outcome = app.result::<serde_json::Value>(&**id).get().outcome().await?;
        add(name, state(&outcome), outcome.failure());
    }
    print_words(&total);
    print_states(&rows);
    Ok(())
}

fn state<T>(outcome: &Outcome<T>) -> TaskState {
    match outcome {
        Outcome::Value(_) => TaskState::Success,
        Outcome::Failed(_) => TaskState::Failure,
        Outcome::Revoked(_) => TaskState::Revoked,
    }
}

fn print_words(words: &Words) {
    say(&format!("\n{} words, {} different ones; the ten most frequent:", words.values().sum::<u64>(), words.len()));
    let mut by_count: Vec<(&String, &u64)> = words.iter().collect();
    by_count.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    for (word, count) in by_count.into_iter().take(SHOWN) {
        say(&format!("{count:>8}  {word}"));
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
