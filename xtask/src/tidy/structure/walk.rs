//! The walk: the few files in which a newcomer follows one task through the code.

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;

/// The target of the spans that `cargo run --example walk` prints.
const TARGET: &str = "\"apium::walk\"";

/// Checks how many files the walk has and how long they are, and that each file with a stop is among them.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let walk = &layers.walk;
    let at_fault = |text: String| Finding::of("layers.toml", format!("[walk] {text}"));
    let mut findings = Vec::new();
    if walk.files.len() > walk.most {
        findings.push(at_fault(format!("has {} files; {} are the most", walk.files.len(), walk.most)));
    }
    let mut lines = 0;
    for path in &walk.files {
        match sources.iter().find(|source| source.path() == path) {
            Some(source) => lines += lines_up_to_tests(source.file(), source.code()),
            None => findings.push(at_fault(format!("names {path}, which is not there"))),
        }
    }
    if lines > walk.lines {
        let text = format!("has {lines} lines up to the tests; {} are the most: what is no step moves out", walk.lines);
        findings.push(at_fault(text));
    }
    let stops = sources.iter().filter(|source| source.path().contains("/src/") && has_stop(source));
    for source in stops.filter(|source| !walk.files.iter().any(|path| path == source.path())) {
        findings.push(Finding::of(source.path(), "has a stop of the walk and is not among the files of [walk]"));
    }
    findings
}

/// The lines of a file that stand before its tests.
fn lines_up_to_tests(file: &File, code: &str) -> usize {
    let tests = code.match_indices("#[cfg(test)]").find(|(at, found)| {
        let behind = code[at + found.len()..].trim_start();
        behind.starts_with("mod ")
    });
    tests.map_or(&*file.text, |(at, _)| &file.text[..at]).lines().count()
}

/// Whether the shipped code makes a span of the walk.
fn has_stop(source: &Source) -> bool {
    let stops = source.texts().match_indices(TARGET).map(|(at, _)| at);
    stops.into_iter().any(|at| source.shipped()[..at].trim_end().ends_with("target:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::layers::Walk;

    /// What is found where the walk may have two files and four lines.
    fn findings(walk: &[&str], files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: format!("crates/x/src/{path}"), text: (*text).to_owned() })
            .collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        let walk = walk.iter().map(|path| format!("crates/x/src/{path}")).collect();
        let layers = Layers { walk: Walk { files: walk, most: 2, lines: 4 }, ..Layers::default() };
        check(&layers, &sources).into_iter().map(|finding| finding.shown()).collect()
    }

    const STOP: &str = "fn f() {\n    trace_span!(target: \"apium::walk\", \"f\")\n}\n";

    #[test]
    fn a_stop_in_a_file_that_is_not_of_the_walk_is_found() {
        assert_eq!(
            findings(&["a.rs"], &[("a.rs", STOP), ("b.rs", STOP)]),
            ["crates/x/src/b.rs: has a stop of the walk and is not among the files of [walk]"]
        );
    }

    #[test]
    fn what_only_names_the_target_is_no_stop() {
        let innocent = "// target: \"apium::walk\"\nfn f() { g(\"apium::walk\") }\n";
        let test = "#[cfg(test)]\nmod tests { fn f() { span!(target: \"apium::walk\") } }\n";
        assert!(findings(&[], &[("a.rs", innocent), ("b.rs", test)]).is_empty());
        let example = File { path: "crates/x/examples/walk.rs".to_owned(), text: STOP.to_owned() };
        assert!(check(&Layers::of_test(""), &[Source::new(&example)]).is_empty(), "the reader's own function");
    }

    #[test]
    fn the_walk_stays_short_and_its_tests_do_not_count() {
        assert!(
            findings(&["a.rs", "b.rs"], &[("a.rs", STOP), ("b.rs", "x\n#[cfg(test)]\nmod tests {\n}\n")]).is_empty()
        );
        assert_eq!(
            findings(&["a.rs", "b.rs"], &[("a.rs", STOP), ("b.rs", "x\ny\n")]),
            ["layers.toml: [walk] has 5 lines up to the tests; 4 are the most: what is no step moves out"]
        );
        let three = [("a.rs", ""), ("b.rs", ""), ("c.rs", "")];
        assert_eq!(findings(&["a.rs", "b.rs", "c.rs"], &three), ["layers.toml: [walk] has 3 files; 2 are the most"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_found() {
        assert_eq!(findings(&["a.rs"], &[]), ["layers.toml: [walk] names crates/x/src/a.rs, which is not there"]);
    }
}
