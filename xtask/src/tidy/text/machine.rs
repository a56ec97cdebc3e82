//! Paths that are there on one machine only.

use crate::files::File;
use crate::tidy::finding::Finding;

/// Checks the text of any file, comments included.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    // Written in two parts, so that this file does not hold what it looks for.
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/home", "/user"), concat!("../sha", "red")];
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        for path in machine.iter().filter(|path| line.contains(**path)) {
            findings.push(Finding::at(&file.path, i + 1, format!("{path} is a path of one machine")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let file = File { path: "a.rs".to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_any_other_is_not() {
        assert_eq!(findings(concat!("// see /ro", "ot/x")).len(), 1);
        assert!(findings("// see crates/apium/rooted/x").is_empty());
    }
}
