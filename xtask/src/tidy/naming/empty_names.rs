//! Names that say nothing.

use crate::tidy::finding::Finding;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{line_of, name_at, places};

/// Names of files, folders and modules that say nothing about what lives there.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "base", "helper", "helpers", "misc", "manager", "managers", "utilities"];

/// Endings of type names that say nothing.
const EMPTY_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils"];

/// Checks the path and the names of a file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = source.path().trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
        findings.push(Finding::of(
            source.path(),
            format!("the name {part:?} says nothing: name the idea that lives there"),
        ));
    }
    for keyword in ["mod", "struct", "enum", "trait", "type"] {
        for at in places(source.code(), keyword) {
            let name = name_at(&source.code()[at + keyword.len()..]);
            if EMPTY_NAMES.contains(&name) || EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                let text = format!("the name {name:?} says nothing: say what it does");
                findings.push(Finding::at(source.path(), line_of(source.code(), at), text));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&Source::new(&file)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(findings("crates/x/src/util.rs", "").len(), 1);
        assert_eq!(findings("crates/x/src/helpers/a.rs", "").len(), 1);
        assert_eq!(findings("a.rs", "mod common { }").len(), 1);
        assert_eq!(findings("a.rs", "struct TaskManager;").len(), 1);
        assert!(findings("a.rs", "struct Utility; mod commonest {}").is_empty());
    }
}
