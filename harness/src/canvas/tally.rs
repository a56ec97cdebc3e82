//! The outcomes of all runs: a line for each case.

use serde_json::json;

use crate::canvas::case::Case;
use crate::canvas::trial::Trial;
use crate::report;

/// A line of the table.
#[derive(Debug)]
struct Line {
    driver: &'static str,
    title: String,
    chords: usize,
    deaths: usize,
    once: usize,
    allowed: usize,
    right: usize,
    leftover: u64,
    repeated: usize,
    slowest: f64,
}

/// The lines, in the order of the cases of the first run.
#[derive(Debug, Default)]
pub struct Tally {
    lines: Vec<Line>,
}

impl Tally {
    /// Adds the outcome of a trial.
    pub fn add(&mut self, case: &Case, trial: &Trial) {
        let (driver, title) = (case.driver.name(), case.title());
        let line = match self.lines.iter().position(|line| line.driver == driver && line.title == title) {
            Some(index) => &mut self.lines[index],
            None => {
                let (chords, deaths, once, allowed, right) = (0, 0, 0, 0, 0);
                let (leftover, repeated, slowest) = (0, 0, 0.0);
                self.lines.push(Line {
                    driver,
                    title,
                    chords,
                    deaths,
                    once,
                    allowed,
                    right,
                    leftover,
                    repeated,
                    slowest,
                });
                let last = self.lines.len() - 1;
                &mut self.lines[last]
            }
        };
        line.chords += 1;
        line.deaths += trial.deaths;
        line.once += usize::from(trial.bodies == 1);
        line.allowed += usize::from(case.allows(trial.bodies));
        line.right += usize::from(trial.right);
        line.leftover += trial.leftover;
        line.repeated += trial.repeated;
        line.slowest = line.slowest.max(trial.seconds);
    }

    /// Whether each body ran as often as it may and got every result, nothing is left over, and a worker died in every
    /// case.
    pub fn passed(&self) -> bool {
        let good = |line: &Line| {
            line.allowed == line.chords && line.right == line.chords && line.leftover == 0 && line.deaths > 0
        };
        !self.lines.is_empty() && self.lines.iter().all(good)
    }

    /// Prints the lines.
    pub fn print(&self) {
        for line in &self.lines {
            let line = json!({
                "driver": line.driver,
                "case": line.title,
                "chords": line.chords,
                "deaths": line.deaths,
                "once": line.once,
                "right": line.right,
                "leftover": line.leftover,
                "repeated": line.repeated,
                "slowest": line.slowest,
            });
            report::line(&line.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::case::Moment;
    use crate::canvas::fresh_stores::Driver;
    use crate::canvas::shape::Shape;

    const CASE: Case = Case { driver: Driver::Redis, moment: Moment::Random, shape: Shape::Flat, crash: None };

    fn passes(trial: Trial) -> bool {
        let mut tally = Tally::default();
        tally.add(&CASE, &trial);
        tally.passed()
    }

    #[test]
    fn only_a_body_that_ran_once_and_got_all_is_good() {
        let good = Trial { deaths: 1, bodies: 1, right: true, ..Trial::default() };
        assert!(passes(Trial { repeated: 3, ..good.clone() }));
        assert!(!passes(Trial { bodies: 2, ..good.clone() }) && !passes(Trial { bodies: 0, ..good.clone() }));
        assert!(!passes(Trial { right: false, ..good.clone() }) && !passes(Trial { leftover: 1, ..good.clone() }));
        assert!(!passes(Trial { deaths: 0, ..good }));
    }
}
