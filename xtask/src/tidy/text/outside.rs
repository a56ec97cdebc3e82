//! What is not in the repository: nothing refers to plans and lists that a reader cannot open, or to their numbers.

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{line_of, places};

/// Checks the comments and the texts of a source.
pub(crate) fn check(layers: &Layers, source: &Source) -> Vec<Finding> {
    let found = [source.comments(), source.texts()].into_iter().flat_map(|text| breaches(layers, text));
    let mut found: Vec<(usize, String)> = found.collect();
    found.sort();
    found.into_iter().map(|(line, text)| Finding::at(source.path(), line, text)).collect()
}

/// Checks all of a file that is no Rust source. `layers.toml` holds the words themselves.
pub(crate) fn check_file(layers: &Layers, file: &File) -> Vec<Finding> {
    if file.path == "layers.toml" {
        return Vec::new();
    }
    breaches(layers, &file.text).into_iter().map(|(line, text)| Finding::at(&file.path, line, text)).collect()
}

/// The lines of `text` with words of `[outside]` and numbers of promises, and what is wrong with them.
fn breaches(layers: &Layers, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (word, advice) in &layers.outside {
        found.extend(places(text, word).map(|at| (line_of(text, at), format!("refers to {word:?}: {advice}"))));
    }
    let numbers = text.match_indices('P').filter_map(|(at, _)| promise(text, at).map(|number| (at, number)));
    for (at, number) in numbers {
        found.push((
            line_of(text, at),
            format!("{number} is a number of a list that is not here: say what is promised"),
        ));
    }
    found.sort();
    found
}

/// The promise's number that stands at `at`: a whole word of `P` and one or two digits.
fn promise(text: &str, at: usize) -> Option<&str> {
    let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
    let number = &text[at..=at + digits];
    ((1..=2).contains(&digits) && places(text, number).any(|place| place == at)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let layers = Layers::of_test("[outside]\nPLAN = \"say it here\"\n");
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let found = match path.ends_with(".rs") {
            true => check(&layers, &Source::new(&file)),
            false => check_file(&layers, &file),
        };
        found.into_iter().map(|finding| finding.shown()).collect()
    }

    #[test]
    fn a_document_that_is_not_here_is_found_in_comments_and_texts() {
        assert_eq!(
            findings("a.rs", "/// As in PLAN 3.\nfn f() { g(\"PLAN\") }"),
            ["a.rs:1: refers to \"PLAN\": say it here", "a.rs:2: refers to \"PLAN\": say it here"]
        );
        assert_eq!(findings("a.md", "# Page\n\nSee PLAN.").len(), 1);
    }

    #[test]
    fn names_in_code_and_parts_of_words_are_free() {
        assert!(findings("a.rs", "// PLANS and UNPLANNED\nconst PLAN: u8 = 0;").is_empty());
        assert!(findings("layers.toml", "PLAN = \"say it here\"").is_empty());
    }

    #[test]
    fn the_number_of_a_promise_is_found() {
        // Written in two parts, so that this file does not hold what it looks for.
        let found = findings("a.rs", concat!("/// Nothing is lost (P", "4), P", "16."));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(findings("a.py", concat!("# P", "4")).len(), 1);
    }

    #[test]
    fn other_letters_with_digits_are_not() {
        assert!(findings("a.md", "P, P256, HTTP2, P_4, XP4, P4a, PT5S").is_empty());
    }
}
