//! The glossary's words: names do not use a word that the glossary has another one for.

use std::collections::BTreeSet;

use crate::tidy::finding::Finding;
use crate::tidy::layers::{Layers, Words};
use crate::tidy::naming::split::{holds, words};
use crate::tidy::source::declarations::{Kind, declarations};
use crate::tidy::source::rust::Source;

/// Checks the names of files and folders, and what the sources declare: modules, types, traits, variants, and the
/// functions and fields that other files see. Words that may only be a part of a name are looked for in the code of the
/// house: tests and the crates beside the house may use them.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let rules = &layers.words;
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    let mut permitted = |key: String| {
        let permitted = rules.allowed.contains_key(&key);
        used.extend(permitted.then_some(key));
        permitted
    };
    for (path, name) in names_of_files(sources) {
        if let Some(advice) = breach(rules, &path, &name)
            && !permitted(path.clone())
        {
            findings.push(Finding::of(&path, format!("the name {name:?} {advice}")));
        }
    }
    for source in sources {
        for declared in declarations(source.code()) {
            let is_private = matches!(declared.kind, Kind::Function | Kind::Field) && !declared.shared;
            let Some(advice) = breach(rules, source.path(), &declared.name).filter(|_| !is_private) else { continue };
            if !permitted(format!("{}: {}", source.path(), declared.name)) {
                let text = format!("the {} {:?} {advice}", declared.kind.shown(), declared.name);
                findings.push(Finding::at(source.path(), declared.line, text));
            }
        }
    }
    let gone = rules.allowed.keys().filter(|name| !used.contains(*name));
    findings.extend(gone.map(|name| {
        Finding::of("layers.toml", format!("[words.allowed] names {name:?}, which needs no permission: take it off"))
    }));
    findings
}

/// Every file and folder that holds sources, once, with the name without its ending.
fn names_of_files(sources: &[Source]) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    for source in sources {
        let path = source.path();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for place in ends.map(|end| &path[..end]) {
            let name = place.rsplit('/').next().unwrap_or(place).trim_end_matches(".rs");
            names.insert((place.to_owned(), name.to_owned()));
        }
    }
    names
}

/// What is wrong with `name` in a file at `path`, and what to say instead.
fn breach(rules: &Words, path: &str, name: &str) -> Option<String> {
    let split = words(name);
    for (word, instead) in &rules.never {
        if holds(&split, &words(word)) {
            return Some(format!("has the word {word:?}: say {instead}"));
        }
    }
    let of_the_house = path.starts_with("crates/") && path.contains("/src/");
    for (word, instead) in &rules.alone {
        if of_the_house && split == words(word) {
            return Some(format!("says too little: say {instead}"));
        }
    }
    for (word, rule) in &rules.only {
        if holds(&split, &words(word)) && !format!("{path}/").starts_with(&format!("crates/{}/", rule.owner)) {
            return Some(format!("has the word {word:?}, which belongs to {}: say {}", rule.owner, rule.instead));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(path: &str, code: &str) -> Vec<String> {
        let layers = Layers::of_test(
            "[words.never]\nseat = \"consumer state\"\n[words.alone]\nrest = \"pause\"\n\
             [words.only]\nbeat = { crate = \"apium-beat\", instead = \"heartbeat\" }\n\
             [words.allowed]\n\"crates/y/src/b.rs: SeatOfPython\" = \"its name\"\n",
        );
        let allowed = File { path: "crates/y/src/b.rs".to_owned(), text: "struct SeatOfPython;".to_owned() };
        let file = File { path: path.to_owned(), text: code.to_owned() };
        let found = check(&layers, &[Source::new(&allowed), Source::new(&file)]);
        found.into_iter().map(|finding| finding.shown()).collect()
    }

    #[test]
    fn a_word_is_found_in_the_names_of_files_and_folders_once() {
        assert_eq!(
            findings("crates/x/src/seat/a.rs", ""),
            ["crates/x/src/seat: the name \"seat\" has the word \"seat\": say consumer state"]
        );
        assert_eq!(findings("crates/x/src/rest.rs", "").len(), 1);
        assert!(findings("crates/x/src/rest_of.rs", "").is_empty());
    }

    #[test]
    fn a_word_is_found_in_what_is_declared() {
        assert_eq!(findings("crates/x/src/a.rs", "struct OpenSeat;").len(), 1);
        assert_eq!(findings("crates/x/src/a.rs", "enum A { Seat, Rest }").len(), 2);
        assert_eq!(findings("crates/x/src/a.rs", "pub trait A { fn rest(); }").len(), 1);
        assert_eq!(findings("crates/x/src/a.rs", "struct A { pub seat: u8 }").len(), 1);
    }

    #[test]
    fn what_only_its_file_sees_and_what_is_only_said_is_free() {
        assert!(findings("crates/x/src/a.rs", "fn rest() {}\nstruct A { seat: u8 }").is_empty());
        assert!(findings("crates/x/src/a.rs", "// seat\nfn f() { let rest = g(\"seat\"); }").is_empty());
    }

    #[test]
    fn a_word_that_is_no_whole_name_is_free_beside_the_house_and_in_tests() {
        assert_eq!(findings("crates/x/src/a.rs", "struct Rest;").len(), 1);
        assert!(findings("harness/src/rest.rs", "struct Rest;").is_empty());
        assert!(findings("crates/x/tests/it/rest.rs", "struct Rest;").is_empty());
        assert_eq!(findings("harness/src/a.rs", "struct Seat;").len(), 1);
    }

    #[test]
    fn a_permission_is_for_one_name_in_one_file() {
        assert_eq!(findings("crates/x/src/a.rs", "struct SeatOfPython;").len(), 1);
    }

    #[test]
    fn a_word_of_one_crate_is_free_there() {
        assert_eq!(findings("crates/x/src/a.rs", "struct Beat;").len(), 1);
        assert!(findings("crates/apium-beat/src/a.rs", "struct Beat;").is_empty());
        assert!(findings("crates/x/src/a.rs", "struct Heartbeat;").is_empty());
    }

    #[test]
    fn a_permission_that_nobody_needs_is_found() {
        let layers = Layers::of_test("[words.allowed]\n\"a.rs: Seat\" = \"wire\"\n");
        assert_eq!(check(&layers, &[]).len(), 1);
    }
}
