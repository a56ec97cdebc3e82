//! Examples in documents and documentation: each is compiled.

use crate::files::File;
use crate::tidy::finding::Finding;

/// Checks the text of any file, comments included.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        let fence = line.trim_start().trim_start_matches(['/', '!', ' ']);
        let words = fence.strip_prefix("```").unwrap_or_default().split(',');
        if words.map(str::trim).any(|word| word == "ignore" || word.starts_with("ignore-")) {
            let text = "an ignored example rots: make it run, or `no_run`, or `text`";
            findings.push(Finding::at(&file.path, i + 1, text));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn an_ignored_example_is_found() {
        assert_eq!(findings("a.md", concat!("```", "rust,ignore\n```")).len(), 1);
        assert_eq!(findings("a.rs", concat!("/// ```", "ignore")).len(), 1);
        assert!(findings("a.md", "```rust,no_run\n```\nignore").is_empty());
    }
}
