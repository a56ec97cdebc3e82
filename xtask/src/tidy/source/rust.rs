//! A Rust source: its code without comments and texts, and its tests told from what is shipped. Lines and columns stay.

use crate::files::File;
use crate::tidy::source::mask::{Masked, blank, mask};
use crate::tidy::source::scan::closing;

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a File,
    masked: Masked,
    shipped: String,
    tests: String,
}

impl<'a> Source<'a> {
    /// Reads a file.
    pub(crate) fn new(file: &'a File) -> Self {
        let masked = mask(&file.text);
        let code = &masked.code;
        let (shipped, tests) = if is_test_path(&file.path) { (blank(code), code.clone()) } else { split(code) };
        Self { file, masked, shipped, tests }
    }

    /// The path from the root.
    pub(crate) fn path(&self) -> &'a str {
        &self.file.path
    }

    /// The file as it is.
    pub(crate) fn file(&self) -> &'a File {
        self.file
    }

    /// The code, tests included, without comments and texts.
    pub(crate) fn code(&self) -> &str {
        &self.masked.code
    }

    /// The comments alone, documentation included.
    pub(crate) fn comments(&self) -> &str {
        &self.masked.comments
    }

    /// The texts alone, with their quotes.
    pub(crate) fn texts(&self) -> &str {
        &self.masked.texts
    }

    /// The code without tests.
    pub(crate) fn shipped(&self) -> &str {
        &self.shipped
    }

    /// The tests alone.
    pub(crate) fn tests(&self) -> &str {
        &self.tests
    }
}

fn is_test_path(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/benches/")
}

/// Separates the items under `#[cfg(test)]` from the rest.
fn split(code: &str) -> (String, String) {
    let (mut shipped, mut tests, mut done) = (String::new(), String::new(), 0);
    let starts = ["#[cfg(test)]", "#[cfg(all(test"].iter().flat_map(|start| code.match_indices(start));
    let mut starts: Vec<usize> = starts.map(|(at, _)| at).collect();
    starts.sort_unstable();
    for at in starts {
        if at < done {
            continue;
        }
        let attribute = closing(code, at + 1).unwrap_or(code.len());
        let end = item_end(code, attribute);
        shipped.push_str(&code[done..at]);
        shipped.push_str(&blank(&code[at..end]));
        tests.push_str(&blank(&code[done..at]));
        tests.push_str(&code[at..end]);
        done = end;
    }
    shipped.push_str(&code[done..]);
    tests.push_str(&blank(&code[done..]));
    (shipped, tests)
}

/// The end of the item that begins at `from`: its block, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(found) = code[at..].find(['{', ';', '(', '[']).map(|offset| at + offset) {
        match code.as_bytes()[found] {
            b';' => return found + 1,
            b'{' => return closing(code, found).unwrap_or(code.len()),
            _ => at = closing(code, found).unwrap_or(code.len()),
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::scan::line_of;

    #[test]
    fn tests_are_told_from_code() {
        let file = File {
            path: "crates/a/src/a.rs".to_owned(),
            text: "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nuse x::c;\nfn d() {}\n"
                .to_owned(),
        };
        let source = Source::new(&file);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(source.shipped()), "fn a() {} fn d() {}");
        assert_eq!(words(source.tests()), "#[cfg(test)] mod tests { fn b() {} } #[cfg(test)] use x::c;");
        assert_eq!(line_of(source.tests(), source.tests().find("fn b").unwrap()), 4);
    }

    #[test]
    fn a_file_of_tests_holds_nothing_else() {
        let file = File { path: "crates/a/tests/it/main.rs".to_owned(), text: "fn a() {}".to_owned() };
        assert_eq!(Source::new(&file).shipped().trim(), "");
    }
}
