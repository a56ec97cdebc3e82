//! Programs that must not compile, in `programs`, and what the compiler says of each in the file beside it.
//!
//! They are examples of this crate, so that they compile against what the other tests have compiled already. A crate
//! that compiles them elsewhere would compile every dependency again, which takes minutes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Compiles programs; the errors of each, by its path without an ending.
///
/// # Errors
/// When cargo cannot be started, or what it prints cannot be read.
pub fn errors(programs: &[PathBuf]) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo says to a test of this package means nothing to other packages, and makes cargo compile them again.
    for (name, _) in std::env::vars_os() {
        let is_of_package =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|one| name.starts_with(one));
        if name.to_str().is_some_and(is_of_package) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    // Of the whole workspace, so that dependencies have the features with which they are compiled already.
    cargo.args(["check", "--workspace", "--keep-going", "--features", "apium-compile-fail/programs"]);
    cargo.args(["--quiet", "--message-format", "json"]);
    for program in programs {
        let name = program.file_name().unwrap_or_default();
        cargo.arg("--example").arg(name);
    }
    let output = cargo.output().map_err(|error| format!("start cargo: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut found: BTreeMap<PathBuf, String> =
        programs.iter().map(|program| (program.clone(), String::new())).collect();
    for line in printed.lines() {
        let message: Value = serde_json::from_str(line).map_err(|error| format!("read {line:?}: {error}"))?;
        let (source, said) = (message["target"]["src_path"].as_str(), &message["message"]);
        // An error without a place only says that there were others.
        let is_error = said["level"] == "error" && said["spans"].as_array().is_some_and(|spans| !spans.is_empty());
        let (Some(source), true) = (source, is_error) else { continue };
        let text = said["rendered"].as_str().unwrap_or_default();
        match found.get_mut(&Path::new(source).with_extension("")) {
            Some(errors) => errors.push_str(&everywhere_the_same(text)),
            None => return Err(format!("{source} does not compile:\n{text}")),
        }
    }
    if found.values().all(String::is_empty) {
        return Err(format!("cargo found no errors, and said: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(found)
}

/// Where the programs are, as the compiler writes it.
const PROGRAMS: &str = "tests/compile-fail/programs/";

/// Whose source an error shows.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Program,
    /// Of this workspace: shown without its line numbers, which change with every edit.
    Own,
    /// Of the standard library or of another crate: elsewhere on each machine, other with each version, and not shown.
    Foreign,
}

/// The text of an error without what differs from machine to machine and from edit to edit.
fn everywhere_the_same(text: &str) -> String {
    let mut lines = Vec::new();
    let mut source = Source::Program;
    for line in text.lines() {
        let text = line.trim();
        if let Some(place) = text.strip_prefix("--> ").or_else(|| text.strip_prefix("::: ")) {
            source = match place {
                _ if place.starts_with(PROGRAMS) => Source::Program,
                _ if Path::new(place).is_absolute() => Source::Foreign,
                _ => Source::Own,
            };
            match source {
                Source::Program => lines.push(format!("  {text}")),
                Source::Own => {
                    let file = text.split_once(".rs:").map_or(text, |(file, _)| file);
                    lines.push(format!("  {file}.rs"));
                }
                Source::Foreign => {}
            }
            continue;
        }
        let is_source = numbered(text).is_some() || text.starts_with('|') || line.starts_with("...");
        if (is_source && source == Source::Foreign) || text.contains("the full name for the type has been written to") {
            continue;
        }
        if !is_source {
            source = Source::Program;
        }
        lines.push(indented(line, source));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The number of a line of source, and what follows it.
fn numbered(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, after) = text.split_at(end);
    (end > 0 && [" |", " -", " +", " ~"].iter().any(|mark| after.starts_with(mark))).then_some((number, after))
}

/// A line with the indentation of line numbers of two digits. The compiler indents by the largest line number, which
/// may be that of a source without one here.
fn indented(line: &str, source: Source) -> String {
    let text = line.trim();
    match (numbered(text), text.chars().next()) {
        (Some((_, after)), _) if source == Source::Own => format!("  {after}"),
        (Some((number, after)), _) => format!("{number:>2}{after}"),
        (None, Some('|' | '=')) => format!("   {text}"),
        _ if line.starts_with(' ') => format!("       {text}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_others_are_left_out_and_their_own_have_no_numbers() {
        let text = "error: no\n   --> tests/compile-fail/programs/a.rs:1:2\n    |\n  1 | a\n    | ^\n    |\nnote: here\n   --> \
                    crates/apium/src/lib.rs:100:9\n    |\n100 | b\n    | ^\nnote: there\n   --> /rustc/core.rs:9:9\n    |\n\
                    99 | c\n    | ^\n    = note: that";
        let kept = "error: no\n  --> tests/compile-fail/programs/a.rs:1:2\n   |\n 1 | a\n   | ^\n   |\nnote: here\n  --> \
                    crates/apium/src/lib.rs\n   |\n   | b\n   | ^\nnote: there\n   = note: that\n";
        assert_eq!(everywhere_the_same(text), kept);
    }
}
