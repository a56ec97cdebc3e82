//! Chords whose workers are killed at every crash point, and chords of Celery where they break, as a table and a page.

use std::fs;

use serde_json::Value;

use crate::bench::machine;
use crate::commands::Answer;
use crate::{output, process};

const PAGE: &str = "docs/PROMISES-CANVAS.md";

/// How often every case is run, and the number of parts of a chord.
const RUNS: (&str, &str) = ("20", "1000");

/// How many chords of Celery are broken at each point.
const OF_CELERY: &str = "3";

/// Runs the programs, shows what they print, and writes the page when all passed. Whether Apium's chords survived
/// everything.
pub(crate) fn table() -> Answer {
    let (mut rows, mut of_celery) = (Vec::new(), Vec::new());
    let mut see = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(value) if value.get("celery").is_some() => of_celery.extend(celery_row(&value)),
        Ok(value) if value.get("case").is_some() => rows.extend(row(&value)),
        _ => output::line(line),
    };
    let mut passed = true;
    for (runs, drivers) in [(RUNS.0, &["redis", "sqlite"][..]), (OF_CELERY, &["celery"][..])] {
        let program = ["run", "--release", "--package", "apium-harness", "--bin", "torture_canvas", "--", runs, RUNS.1];
        let program: Vec<&str> = program.iter().chain(drivers).copied().collect();
        passed &= process::stream(process::cargo(&program)?, &mut see)?;
    }
    let page = page(&rows, &of_celery);
    output::line(&page);
    if passed {
        fs::write(process::root()?.join(PAGE), page).map_err(|e| format!("write {PAGE}: {e}"))?;
        output::step(&format!("wrote {PAGE}"));
    }
    Ok(passed)
}

fn page(rows: &[String], of_celery: &[String]) -> String {
    format!(
        "# Chords survive their workers\n\n\
         This page shows the guarantee [chord-once](PROMISES.md#chord-once). A chord of {} parts is sent, and its worker is \
         killed, as by `kill -9`, at a crash point of the code: somewhere on the way; with the last part, when all others \
         have ended; when it opens the chord; or in a chord of ten chords. At random instants, up to eight workers are \
         killed one after the other. Other workers take over. The lease is 1 s. Tasks are acknowledged late, but for the \
         last part where a row says so: that part is killed only at the step that counts it or later, because an earlier \
         kill would lose it. The body has a queue of its own, whose worker is not killed: a second run of the body \
         would mean a second message.\n\n\
         Afterwards the log of runs shows how often the body ran, its result must be the list of all results in order, and \
         no message may be left over: in queues, in flight, in the dead set or in a count. Parts may run again, as late \
         acknowledgement allows.\n\n\
         With queue and results in two files, a chord is not ended in one step: the body is published under a fixed id, and \
         then the count is ended. After a crash between the two the body is published again; it is never lost.\n\n\
         Made by `cargo xtask torture canvas` on {}, with Celery 5.7.\n\n\
         | driver | where the worker dies | chords | deaths | body once | all results | left over | parts run again | slowest |\n\
         |---|---|---|---|---|---|---|---|---|\n{}\n\n\
         Celery with the same tasks, on Redis: a chord of 100 parts, whose worker is killed in `on_chord_part_return`. Its \
         workers look for messages of dead workers each second. By default the visibility timeout is an hour and tasks are \
         acknowledged early.\n\n\
         | Celery 5.7: where the worker dies | chords | body once | more than once | never | all results |\n\
         |---|---|---|---|---|---|\n{}\n",
        RUNS.1,
        machine::facts(),
        rows.join("\n"),
        of_celery.join("\n"),
    )
}

/// A line of Apium's table.
fn row(line: &Value) -> Option<String> {
    let count = |name: &str| line.get(name).and_then(Value::as_u64);
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let chords = count("chords")?;
    let of_all = |name: &str| {
        let value = count(name)?;
        Some(if value == chords { value.to_string() } else { format!("**{value}**") })
    };
    Some(format!(
        "| {} | {} | {chords} | {} | {} | {} | {} | {} | {:.1} s |",
        text("driver")?,
        text("case")?,
        count("deaths")?,
        of_all("once")?,
        of_all("right")?,
        count("leftover")?,
        count("repeated")?,
        line.get("slowest")?.as_f64()?,
    ))
}

/// A line of Celery's table.
fn celery_row(line: &Value) -> Option<String> {
    let count = |name: &str| line.get(name).and_then(Value::as_u64);
    Some(format!(
        "| {} | {} | {} | {} | {} | {} |",
        line.get("celery")?.as_str()?,
        count("chords")?,
        count("once")?,
        count("more")?,
        count("never")?,
        count("right")?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_that_did_not_run_once_stands_out() {
        let mut line = json!({
            "driver": "redis", "case": "after-body", "chords": 2, "deaths": 2, "once": 2, "right": 2, "leftover": 0, "repeated": 3,
            "slowest": 1.26,
        });
        assert_eq!(row(&line).unwrap(), "| redis | after-body | 2 | 2 | 2 | 2 | 0 | 3 | 1.3 s |");
        line["once"] = json!(1);
        assert!(row(&line).unwrap().contains("| **1** |"));
        assert_eq!(row(&json!({"case": "x"})), None);
    }

    #[test]
    fn celery_has_a_table_of_its_own() {
        let line = json!({"celery": "there", "chords": 3, "once": 1, "more": 1, "never": 1, "right": 2});
        assert_eq!(celery_row(&line).unwrap(), "| there | 3 | 1 | 1 | 1 | 2 |");
    }
}
