//! What opens a file, and what a root may hold.

use crate::tidy::finding::Finding;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{closing, line_of};

/// Every file opens with `//!`; `lib.rs` and `mod.rs` hold docs, modules and re-exports.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let text = &source.file().text;
    // A case of a compile test shows what a user writes.
    if !text.starts_with("//!") && !source.path().contains("/tests/ui/") {
        findings.push(Finding::at(source.path(), 1, "opens without `//!`: say what lives here"));
    }
    let is_root = matches!(source.file().name(), "lib.rs" | "mod.rs");
    // The entry points of a procedural macro must stand in the root.
    if is_root && !source.code().contains("#[proc_macro") {
        let code = source.shipped();
        if let Some(at) = foreign_item(code, 0, code.len()) {
            let text = "a root holds docs, `mod` lines and re-exports only: move this to a file of its own";
            findings.push(Finding::at(source.path(), line_of(code, at), text));
        }
    }
    findings
}

/// The first place between `from` and `to` that is no attribute, module or `use`.
fn foreign_item(code: &str, from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += code[at..to].len() - code[at..to].trim_start().len();
        let rest = &code[at..to];
        if rest.is_empty() {
            return None;
        }
        if rest.starts_with("#[") || rest.starts_with("#![") {
            at = closing(code, at + rest.find('[')?)?;
            continue;
        }
        let item = without_visibility(rest);
        let words = item.split_whitespace().next().unwrap_or_default();
        let start = to - item.len();
        match words {
            "use" => at = start + item.find(';')? + 1,
            "mod" => {
                let end = item.find([';', '{'])? + start;
                if code.as_bytes()[end] == b'{' {
                    let close = closing(code, end)?;
                    if let Some(inside) = foreign_item(code, end + 1, close - 1) {
                        return Some(inside);
                    }
                    at = close;
                } else {
                    at = end + 1;
                }
            }
            _ => return Some(at),
        }
    }
}

/// The item behind `pub`, `pub(crate)` and the like.
fn without_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else { return item };
    let rest = rest.trim_start();
    match rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
        Some((_, behind)) => behind.trim_start(),
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&Source::new(&file)).into_iter().map(|finding| (finding.line, finding.text)).collect()
    }

    #[test]
    fn a_file_opens_with_what_lives_there() {
        assert!(findings("crates/x/src/a.rs", "//! A.\nfn f() {}").is_empty());
        assert_eq!(findings("crates/x/src/a.rs", "use b;\n//! A.").len(), 1);
    }

    #[test]
    fn a_root_may_hold_modules_and_re_exports() {
        let root = "//! A.\n#![warn(x)]\nmod a;\n#[cfg(feature = \"f\")]\npub(crate) mod b;\npub use a::{B, C};\npub mod p { pub use super::a::*; }\n#[cfg(test)]\nmod tests { fn f() {} }\n";
        assert_eq!(findings("crates/x/src/lib.rs", root), []);
    }

    #[test]
    fn a_root_may_hold_nothing_else() {
        assert_eq!(findings("crates/x/src/lib.rs", "//! A.\nmod a;\npub fn f() {}\n")[0].0, 3);
        assert_eq!(findings("crates/x/src/a/mod.rs", "//! A.\npub mod p {\n struct S;\n}\n")[0].0, 3);
        assert_eq!(findings("crates/x/src/a/mod.rs", "//! A.\nmacro_rules! m { () => {} }\n")[0].0, 2);
        assert!(findings("crates/x/src/a/b.rs", "//! A.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn the_root_of_a_procedural_macro_may() {
        assert!(findings("crates/x/src/lib.rs", "//! A.\n#[proc_macro_attribute]\npub fn f() {}\n").is_empty());
    }
}
