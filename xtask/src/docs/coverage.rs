//! The coverage table: which tests show which row of the guide, and on which drivers.
//!
//! A test inside `on_every_driver! { … }` runs on memory, sqlite and redis. Any other test runs on a driver if its
//! name, or the path of its file, contains the driver's name.

use crate::docs::guide::Row;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{closing, is_name, line_of};

/// The drivers on which each row must be shown.
const DRIVERS: &[&str] = &["memory", "sqlite", "redis"];

/// The macro that makes a test for each driver.
const EVERY_DRIVER: &str = "on_every_driver!";

/// A test of the guide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuideTest {
    /// The name of its function.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: String,
    /// Its line.
    pub(crate) line: usize,
    /// The drivers on which it runs.
    pub(crate) drivers: Vec<&'static str>,
}

/// Every test whose name starts with `guide_`.
pub(crate) fn tests(sources: &[Source]) -> Vec<GuideTest> {
    sources.iter().flat_map(tests_of).collect()
}

fn tests_of(source: &Source) -> Vec<GuideTest> {
    let code = source.tests();
    let every: Vec<_> = code
        .match_indices(EVERY_DRIVER)
        .filter_map(|(at, mark)| Some(at..closing(code, at + mark.len() + code[at + mark.len()..].find(['{', '('])?)?))
        .collect();
    let found = code.match_indices("fn guide_").map(|(at, _)| {
        let start = at + "fn ".len();
        let name = &code[start..start + code[start..].find(|c: char| !is_name(c)).unwrap_or(code.len() - start)];
        let on = |driver: &&&str| {
            every.iter().any(|range| range.contains(&at)) || name.contains(**driver) || source.path().contains(**driver)
        };
        GuideTest {
            name: name.to_owned(),
            path: source.path().to_owned(),
            line: line_of(code, at),
            drivers: DRIVERS.iter().filter(on).copied().collect(),
        }
    });
    found.collect()
}

/// A row with the tests that show it.
#[derive(Debug)]
pub(crate) struct Covered<'r> {
    row: &'r Row,
    tests: Vec<GuideTest>,
}

impl Covered<'_> {
    /// What the row lacks; nothing when it is excused.
    pub(crate) fn gap(&self) -> Option<String> {
        if self.row.excused.is_some() {
            return None;
        }
        let missing: Vec<&str> = DRIVERS
            .iter()
            .filter(|driver| self.tests.iter().all(|test| !test.drivers.contains(driver)))
            .copied()
            .collect();
        let number = &self.row.number;
        (!missing.is_empty())
            .then(|| format!("row {number} ({}) has no test on {}", self.row.title, missing.join(" and ")))
    }

    /// The row as a line of the table. A page in the repository has no line numbers, because they change often.
    fn line(&self, with_lines: bool) -> String {
        let row = self.row;
        let shown: Vec<String> = self
            .tests
            .iter()
            .map(|test| match with_lines {
                true => format!("`{}` {}:{}", test.name, test.path, test.line),
                false => format!("[`{}`](../{})", test.name, test.path),
            })
            .collect();
        let drivers: Vec<&str> = DRIVERS
            .iter()
            .filter(|driver| self.tests.iter().any(|test| test.drivers.contains(driver)))
            .copied()
            .collect();
        let mut tests = match &row.excused {
            Some(reason) if shown.is_empty() => reason.clone(),
            _ => shown.join("<br>"),
        };
        if let Some(later) = &row.later {
            tests = format!("{tests}<br>({later})");
        }
        format!("| {} | {} | {} | {} |", row.number, row.title, drivers.join(", "), tests)
    }
}

/// Joins rows and tests.
pub(crate) fn join<'r>(rows: &'r [Row], tests: &[GuideTest]) -> Vec<Covered<'r>> {
    let of = |row: &Row| tests.iter().filter(|test| test.name.starts_with(&row.prefix())).cloned().collect();
    rows.iter().map(|row| Covered { row, tests: of(row) }).collect()
}

/// Tests whose names have a number that no row has.
pub(crate) fn without_row(rows: &[Row], tests: &[GuideTest]) -> Vec<String> {
    let found = tests.iter().filter(|test| rows.iter().all(|row| !test.name.starts_with(&row.prefix())));
    found.map(|test| format!("{}:{}: no row has the number in {}", test.path, test.line, test.name)).collect()
}

/// The table in Markdown.
pub(crate) fn table(covered: &[Covered<'_>], with_lines: bool) -> String {
    let mut text = String::from("| row | what it says | drivers | tests |\n|---|---|---|---|\n");
    for row in covered {
        text.push_str(&row.line(with_lines));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::guide;
    use crate::files::File;

    const ROWS: &str =
        "[rows]\n\"0.01\" = \"one\"\n\"0.02\" = \"two\"\n\"0.03\" = \"three\"\n[excused]\n\"0.03\" = \"comes later\"\n";

    fn shown(path: &str, text: &str) -> Vec<GuideTest> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        tests(&[Source::new(&file)])
    }

    #[test]
    fn a_test_under_the_macro_runs_on_every_driver() {
        let found = shown(
            "crates/x/tests/it/a.rs",
            "on_every_driver! {\n async fn guide_0_01_is_shown(d: D) { {} }\n}\nfn guide_0_02_x() {}",
        );
        assert_eq!((found[0].name.as_str(), found[0].line), ("guide_0_01_is_shown", 2));
        assert_eq!(found[0].drivers, ["memory", "sqlite", "redis"]);
        assert!(found[1].drivers.is_empty());
    }

    #[test]
    fn a_row_without_a_test_on_a_driver_is_a_gap() {
        let rows = guide::rows(ROWS).unwrap();
        let found =
            shown("crates/x/tests/it/a.rs", "on_every_driver! { fn guide_0_01_a() {} }\nfn guide_0_02_on_memory() {}");
        let gaps: Vec<_> = join(&rows, &found).iter().filter_map(Covered::gap).collect();
        assert_eq!(gaps, ["row 0.02 (two) has no test on sqlite and redis"]);
        let table = table(&join(&rows, &found), true);
        assert!(
            table.contains("| 0.01 | one | memory, sqlite, redis | `guide_0_01_a` crates/x/tests/it/a.rs:1 |"),
            "{table}"
        );
        assert!(table.contains("| 0.03 | three |  | comes later |"), "{table}");
    }

    #[test]
    fn a_test_with_a_number_of_no_row_is_found() {
        let rows = guide::rows(ROWS).unwrap();
        assert_eq!(without_row(&rows, &shown("crates/x/tests/a.rs", "fn guide_0_99_x() {}")).len(), 1);
        assert!(without_row(&rows, &shown("crates/x/tests/a.rs", "fn guide_0_02_x() {}")).is_empty());
    }
}
