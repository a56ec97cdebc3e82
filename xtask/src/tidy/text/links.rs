//! Links of documents lead somewhere: the file is there, and so is the heading that an anchor means. Comments name
//! documents that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::source::rust::Source;
use crate::tidy::text::markdown;

/// Where a link may lead: the files below the root, and the anchors of each document by its path.
pub(crate) struct Places<'a> {
    root: &'a Path,
    anchors: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Places<'a> {
    /// Reads the headings of all documents.
    pub(crate) fn new(files: &'a [File], root: &'a Path) -> Self {
        let documents = files.iter().filter(|file| file.has_ending("md"));
        Self { root, anchors: documents.map(|file| (&*file.path, markdown::anchors(&file.text))).collect() }
    }

    /// Checks the links of one document. Those to other sites are not followed.
    pub(crate) fn check(&self, document: &File) -> Vec<Finding> {
        let links = markdown::links(&document.text).into_iter();
        let own = links.filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"));
        own.filter_map(|(line, link)| {
            let text = self.breach(&document.path, &link)?;
            Some(Finding::at(&document.path, line, format!("links to {link}, {text}")))
        })
        .collect()
    }

    /// Checks the documents that the comments of a source name, by their paths from the root.
    pub(crate) fn check_comments(&self, source: &Source) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (i, line) in source.comments().lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '-' | '_' | '#'));
            let words = words.map(|word| word.trim_end_matches('.'));
            for word in words.filter(|word| word.split('#').next().is_some_and(|path| path.ends_with(".md"))) {
                if let Some(text) = self.breach("", word) {
                    findings.push(Finding::at(source.path(), i + 1, format!("names {word}, {text}")));
                }
            }
        }
        findings
    }

    /// What is wrong with a link that stands in the file `path`.
    fn breach(&self, path: &str, link: &str) -> Option<&'static str> {
        let (target, anchor) = link.split_once('#').map_or((link, None), |(target, anchor)| (target, Some(anchor)));
        let meant = match target {
            "" => Some(path.to_owned()),
            _ => resolved(path, target),
        };
        let Some(meant) = meant.filter(|meant| self.root.join(meant).exists()) else {
            return Some("which is not there");
        };
        let headings = self.anchors.get(&*meant)?;
        let is_there = anchor.is_none_or(|anchor| headings.contains(anchor));
        (!is_there).then_some("a heading which is not there")
    }
}

/// The path from the root that a link means which stands in the file `path`; none for one that leads out of the
/// repository.
fn resolved(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// What is found in a document, beside one that has two headings.
    fn findings(text: &str) -> Vec<String> {
        let root = process::root().unwrap();
        let files = [file("docs/PROMISES.md", text), file("README.md", "# Apium\n## More\n")];
        Places::new(&files, &root).check(&files[0]).into_iter().map(|finding| finding.shown()).collect()
    }

    #[test]
    fn links_to_what_exists_are_right() {
        let text = "# Page\n[a](#page) [b](../README.md#more) [c](../Cargo.toml#x) [d](../crates/apium) [e](./REDIS.md)\n\
            [f](https://example.org/x#y) [g](mailto:a@example.org)\n";
        assert_eq!(findings(text), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_there_is_found() {
        assert_eq!(findings("\n[a](gone.md)"), ["docs/PROMISES.md:2: links to gone.md, which is not there"]);
        assert_eq!(findings("[a](../docs/../../x.md#y)").len(), 1);
        assert_eq!(findings("[a](README.md)").len(), 1);
    }

    #[test]
    fn a_heading_that_is_not_there_is_found() {
        let expected = "docs/PROMISES.md:1: links to ../README.md#less, a heading which is not there";
        assert_eq!(findings("[a](../README.md#less)"), [expected]);
        assert_eq!(findings("# Page\n[a](#pages) [b](PROMISES.md#page)").len(), 1);
    }

    #[test]
    fn comments_name_documents_that_are_there() {
        let root = process::root().unwrap();
        let files = [file("README.md", "# Apium\n")];
        let places = Places::new(&files, &root);
        let found = |text: &str| {
            let source = file("a.rs", text);
            let found = places.check_comments(&Source::new(&source));
            found.into_iter().map(|finding| finding.shown()).collect::<Vec<_>>()
        };
        assert!(found("//! See `docs/PROMISES.md` and README.md#apium.\nconst A: &str = \"gone.md\";\n").is_empty());
        assert_eq!(found("\n/// [a](docs/GONE.md)\nfn f() {}"), ["a.rs:2: names docs/GONE.md, which is not there"]);
        assert_eq!(found("// As README.md#gone says.").len(), 1);
    }
}
