//! Chords whose workers die at every named place, beside what Celery's do at the places where they break, as a table and a page.

use std::fs;

use serde_json::Value;

use crate::bench::machine;
use crate::commands::Answer;
use crate::{output, process};

const PAGE: &str = "docs/PROMISES-CANVAS.md";

/// How often every case is run, with chords of so many parts.
const RUNS: (&str, &str) = ("20", "1000");

/// How many chords of Celery are broken at each place.
const OF_CELERY: &str = "3";

/// Runs the programs, shows what they print, and writes the page when all is well. Whether Apium's chords survived everything.
pub(crate) fn table() -> Answer {
    let (mut rows, mut of_celery) = (Vec::new(), Vec::new());
    let mut see = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(value) if value.get("celery").is_some() => of_celery.extend(celery_row(&value)),
        Ok(value) if value.get("place").is_some() => rows.extend(row(&value)),
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
        "# P10: a chord survives its workers\n\n\
         A chord of {} parts is sent, and its worker dies as by `kill -9` at a named place of the code: somewhere on the way, with the \
         last part in hand (the others have ended, and the place is passed for this one), when it opens the chord, or in a chord of ten \
         chords. At random instants, up to eight workers are killed one after the other. Others take over; the lease is 1 s, tasks are \
         acknowledged late, except for the last part where it says so: that one can be killed from the step that counts it on, since what \
         dies before has not ended. The body waits in a queue of its own, whose worker is not killed: a second run of it would be a second \
         message, and is counted as one whatever was killed. Then the log of runs says how often the body ran, its result must be the \
         list of all results in order, and nothing may be left in queues, out, in the dead set or counted. Parts may run again: that \
         is what late acknowledgement is.\n\n\
         With queue and results in two files, what ends a chord is not one step: the body is published under a fixed id, and then the \
         count is ended. Who dies between the two publishes the body again; it is never lost.\n\n\
         Made by `cargo xtask torture canvas` on {}, with Celery 5.7.\n\n\
         | driver | where the worker dies | chords | deaths | body once | all results | left over | parts run again | slowest |\n\
         |---|---|---|---|---|---|---|---|---|\n{}\n\n\
         Celery with the same tasks, on Redis, a chord of 100, its worker killed in `on_chord_part_return`; messages of dead workers are \
         looked for each second. By itself its visibility timeout is an hour and its tasks are acknowledged early.\n\n\
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
        text("place")?,
        count("deaths")?,
        of_all("once")?,
        of_all("right")?,
        count("left")?,
        count("repeated")?,
        line.get("slowest")?.as_f64()?,
    ))
}

/// A line of Celery's.
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
            "driver": "redis", "place": "after-body", "chords": 2, "deaths": 2, "once": 2, "right": 2, "left": 0, "repeated": 3,
            "slowest": 1.26,
        });
        assert_eq!(row(&line).unwrap(), "| redis | after-body | 2 | 2 | 2 | 2 | 0 | 3 | 1.3 s |");
        line["once"] = json!(1);
        assert!(row(&line).unwrap().contains("| **1** |"));
        assert_eq!(row(&json!({"place": "x"})), None);
    }

    #[test]
    fn celery_has_a_table_of_its_own() {
        let line = json!({"celery": "there", "chords": 3, "once": 1, "more": 1, "never": 1, "right": 2});
        assert_eq!(celery_row(&line).unwrap(), "| there | 3 | 1 | 1 | 1 | 2 |");
    }
}
