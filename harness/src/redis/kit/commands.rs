//! How often a Redis server ran each command.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::report;

/// Calls of each command, and the microseconds that the server spent in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    calls: BTreeMap<String, Calls>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Calls {
    count: u64,
    micros: u64,
}

impl Commands {
    /// Reads the section `commandstats` of INFO. INFO itself is not counted.
    pub fn parse(text: &str) -> Self {
        let field = |rest: &str, name: &str| {
            rest.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            Some((name.to_owned(), Calls { count: field(rest, "calls")?, micros: field(rest, "usec")? }))
        });
        Self { calls: calls.filter(|(name, _)| name != "info").collect() }
    }

    /// What was called since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.calls.iter().map(|(name, calls)| {
            let before = before.calls.get(name).copied().unwrap_or_default();
            let since = Calls { count: calls.count - before.count, micros: calls.micros - before.micros };
            (name.clone(), since)
        });
        Self { calls: grown.filter(|(_, calls)| calls.count > 0).collect() }
    }

    /// Calls of one command.
    pub fn of(&self, name: &str) -> u64 {
        self.calls.get(name).map_or(0, |calls| calls.count)
    }

    /// Calls of all commands.
    pub fn total(&self) -> u64 {
        self.calls.values().map(|calls| calls.count).sum()
    }

    /// Prints, for one of `tasks` tasks, how often each command was called and the microseconds in it. The time of a
    /// script contains that of its commands.
    pub fn explain(&self, what: &str, tasks: u64) {
        let each = |number: u64| Value::from((number as f64 / tasks as f64 * 1e3).round() / 1e3);
        let (mut calls, mut micros) = (Map::new(), Map::new());
        // Commands that were called a few times in all do not belong to a task.
        for (name, of) in self.calls.iter().filter(|(_, of)| of.count * 1_000 >= tasks) {
            calls.insert(name.clone(), each(of.count));
            micros.insert(name.clone(), each(of.micros));
        }
        report::line(&json!({"each": what, "calls": calls, "micros": micros}).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_since_an_earlier_state() {
        let before = Commands::parse("# Commandstats\r\ncmdstat_get:calls=2,usec=5\r\n");
        let after = Commands::parse(
            "cmdstat_get:calls=2,usec=5,usec_per_call=2.5\r\ncmdstat_info:calls=9,usec=1\r\ncmdstat_script|load:calls=3,usec=7\r\n",
        );
        let since = after.since(&before);
        assert_eq!((since.of("get"), since.of("script|load"), since.total()), (0, 3, 3));
    }
}
