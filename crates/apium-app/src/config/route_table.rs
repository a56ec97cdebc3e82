//! A table of routes (`task_routes`): task names, globs and regular expressions, and the options they give.

use std::collections::HashMap;
use std::sync::Arc;

use regex_lite::Regex;

use crate::config::read::{FromValue, InvalidValue};
use crate::config::value::Value;
use crate::options::call_options::CallOptions;

/// One table of routes: exact names first, then patterns in the order given.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    exact: HashMap<String, CallOptions>,
    patterns: Vec<(Regex, CallOptions)>,
}

impl RouteTable {
    /// A table without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route: for a task name, a glob (with `*`, `?` or `[…]`), or a regular expression after `re:`. The letters
    /// and digits of `\w` and `\d` are those of ASCII, and there is no lookaround and no `\p{…}`.
    ///
    /// # Errors
    /// A regular expression that cannot be read, in words.
    pub fn add(&mut self, pattern: &str, options: CallOptions) -> Result<(), String> {
        let regex = match pattern.strip_prefix("re:") {
            Some(regex) => regex.to_owned(),
            None if pattern.contains(['*', '?', '[']) => glob_regex(pattern),
            None => {
                self.exact.insert(pattern.to_owned(), options);
                return Ok(());
            }
        };
        let regex = Regex::new(&regex).map_err(|error| error.to_string())?;
        self.patterns.push((regex, options));
        Ok(())
    }

    /// The options for a task, if a route of this table matches.
    pub fn find(&self, task: &str) -> Option<&CallOptions> {
        let pattern = || self.patterns.iter().find(|(regex, _)| regex.is_match(task)).map(|(_, options)| options);
        self.exact.get(task).or_else(pattern)
    }

    /// The tasks that a route names itself, without a pattern.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str)
    }

    /// Every queue that a route names.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Arc<str>> {
        self.exact
            .values()
            .chain(self.patterns.iter().map(|(_, options)| options))
            .filter_map(|options| options.queue.as_ref())
    }
}

/// A glob as Python's `fnmatch` reads it, as a regular expression.
pub fn glob_regex(pattern: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' if has_end(rest.as_str()) => {
                regex.push('[');
                if let Some(negated) = rest.as_str().strip_prefix('!') {
                    regex.push('^');
                    rest = negated.chars();
                }
                let mut first = true;
                for c in rest.by_ref() {
                    match c {
                        ']' if !first => break,
                        '\\' | '[' | ']' | '^' | '&' | '~' => regex.extend(['\\', c]),
                        c => regex.push(c),
                    }
                    first = false;
                }
                regex.push(']');
            }
            c => regex.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex
}

/// Whether a class ends in what follows its `[`. A `]` that is the first of its letters is one of them.
fn has_end(class: &str) -> bool {
    class.strip_prefix('!').unwrap_or(class).chars().skip(1).any(|c| c == ']')
}

impl FromValue for RouteTable {
    const KIND: &'static str =
        "a table from task names, globs or regular expressions to queue names or tables of options";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let Value::Table(entries) = value else { return Err(InvalidValue::new(value, Self::KIND)) };
        let mut table = Self::new();
        for (pattern, target) in entries {
            let options = CallOptions::from_value(target).map_err(|wrong| wrong.inside(pattern))?;
            table.add(pattern, options).map_err(|why| {
                InvalidValue::because(format!("the regular expression after \"re:\" cannot be read: {why}"))
                    .inside(pattern)
            })?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_6_06_patterns_are_globs_and_regular_expressions_in_order() {
        let mut table = RouteTable::new();
        table.add("re:^mail\\.(send|sent)$", "regex".into()).unwrap();
        table.add("mail.[!x]?z*", "glob".into()).unwrap();
        table.add("*", "rest".into()).unwrap();
        let queue = |task: &str| table.find(task).and_then(|options| options.queue.clone()).unwrap();
        assert_eq!(&*queue("mail.send"), "regex");
        assert_eq!(&*queue("mail.abz9"), "glob");
        assert_eq!(&*queue("mail.xbz9"), "rest");
        assert!(table.add("re:(", "bad".into()).is_err());
    }

    #[test]
    fn every_sign_of_a_glob_is_read_as_python_reads_it() {
        for (glob, name, wanted) in [
            ("a[&~^\\-]*", "a^b", true),
            ("a[&~^\\-]*", "a-b", true),
            ("a[[]*", "a[b", true),
            ("a[]]*", "a]b", true),
            ("a[!]]*", "a]b", false),
            ("a[!]]*", "abb", true),
            ("a[!!]", "a!", false),
            ("a[!]", "a[!]", true),
            ("[a-cx]*", "bz", true),
            ("é?*", "éüx", true),
            ("a.b+(c)|{d}$#*", "a.b+(c)|{d}$#x", true),
            ("a.*", "axb", false),
        ] {
            let mut table = RouteTable::new();
            table.add(glob, "q".into()).unwrap();
            assert_eq!(table.find(name).is_some(), wanted, "{glob} {name}");
        }
    }
}
