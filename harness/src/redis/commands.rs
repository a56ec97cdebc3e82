//! How often a Redis server ran which command.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::report;

/// Calls of each command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    calls: BTreeMap<String, u64>,
}

impl Commands {
    /// Reads the section `commandstats` of INFO. What this program looks with is not counted.
    pub fn parse(text: &str) -> Self {
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        Self { calls: calls.filter(|(name, _)| name != "info").collect() }
    }

    /// What was called since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.calls.iter().map(|(name, calls)| (name.clone(), calls - before.of(name)));
        Self { calls: grown.filter(|&(_, calls)| calls > 0).collect() }
    }

    /// Calls of one command.
    pub fn of(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }

    /// Calls of all commands.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Prints how often each was called for one of `jobs`, for whoever wants to know what a total is made of.
    pub fn explain(&self, what: &str, jobs: u64) {
        let each = |calls: u64| (calls as f64 / jobs as f64 * 1e3).round() / 1e3;
        let mut line = Map::from_iter([("commands".to_owned(), Value::from(what))]);
        line.extend(self.calls.iter().map(|(name, &calls)| (name.clone(), Value::from(each(calls)))));
        report::line(&Value::Object(line).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_those_since_the_last_look() {
        let before = Commands::parse("# Commandstats\r\ncmdstat_get:calls=2,usec=5\r\n");
        let after = Commands::parse(
            "cmdstat_get:calls=2,usec=5,usec_per_call=2.5\r\ncmdstat_info:calls=9,usec=1\r\ncmdstat_script|load:calls=3,usec=7\r\n",
        );
        let since = after.since(&before);
        assert_eq!((since.of("get"), since.of("script|load"), since.total()), (0, 3, 3));
    }
}
