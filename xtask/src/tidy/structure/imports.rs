//! Imports within a crate: no knot of more than two files, nothing through a root, and an error type that knows nobody.

use crate::tidy::finding::Finding;
use crate::tidy::source::paths::{Mention, mentions};
use crate::tidy::source::rust::Source;
use crate::tidy::structure::graph::{Graph, knots};
use crate::tidy::structure::modules::{Modules, by_crate, module, modules, resolve};

/// The largest group of files that may import each other.
const KNOT: usize = 2;

/// Checks every crate of the workspace.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    by_crate(sources).values().flat_map(|sources| check_crate(sources)).collect()
}

fn check_crate(sources: &[&Source]) -> Vec<Finding> {
    let modules = modules(sources);
    let mut graph = Graph::new();
    let mut findings = Vec::new();
    for source in sources {
        let own = module(source.path());
        for mention in mentions(source.shipped()) {
            let Some((target, rest)) = resolve(&modules, &own, &mention) else { continue };
            if target != source.path() {
                graph.entry(source.path().to_owned()).or_default().insert(target.to_owned());
                findings.extend(through_root(source, &mention, target, &rest));
            }
        }
    }
    for source in sources.iter().filter(|source| source.path().ends_with("/src/error.rs")) {
        findings.extend(error_imports(source, &modules, &graph));
    }
    for knot in knots(&graph).into_iter().filter(|knot| knot.len() > KNOT) {
        let text =
            format!("{} files import each other in a ring: {}", knot.len(), inner_edges(&graph, &knot).join(", "));
        findings.push(Finding::of(&knot[0], text));
    }
    findings
}

/// Who imports whom inside a knot, by file names.
fn inner_edges(graph: &Graph, knot: &[String]) -> Vec<String> {
    let short = |path: &String| path.split_once("/src/").map_or(path.clone(), |(_, inside)| inside.to_owned());
    let edges = knot.iter().flat_map(|from| graph.get(from).into_iter().flatten().map(move |to| (from, to)));
    edges.filter(|(_, to)| knot.contains(to)).map(|(from, to)| format!("{} > {}", short(from), short(to))).collect()
}

/// A type taken from a root that only passes it on, instead of from the module that defines it.
fn through_root(source: &Source, mention: &Mention, target: &str, rest: &[String]) -> Option<Finding> {
    let is_root = target.ends_with("/mod.rs") || target.ends_with("/lib.rs");
    let name = rest.first()?;
    let is_type = name.chars().next().is_some_and(char::is_uppercase);
    (is_root && is_type).then(|| {
        let text = format!(
            "{} comes through {target}: import it from the module that defines it",
            mention.segments.join("::")
        );
        Finding::at(source.path(), mention.line, text)
    })
}

/// `error.rs` knows the ground floor, and such files of its crate as know no other, so that every file can use it.
fn error_imports(source: &Source, modules: &Modules, graph: &Graph) -> Vec<Finding> {
    let own = module(source.path());
    let foreign = mentions(source.shipped()).into_iter().filter(|mention| {
        let first = mention.segments.first().map_or("", String::as_str);
        match resolve(modules, &own, mention) {
            Some((target, _)) => target != source.path() && graph.contains_key(target),
            None => first.starts_with("apium_") && first != "apium_protocol",
        }
    });
    let text = |mention: Mention| format!("error.rs must not import {}", mention.segments.join("::"));
    foreign.map(|mention| Finding::at(source.path(), mention.line, text(mention))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let file =
            |(path, text): &(&str, &str)| File { path: format!("crates/x/src/{path}"), text: (*text).to_owned() };
        let files: Vec<File> = files.iter().map(file).collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&sources).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_ring_of_three_is_found_and_one_of_two_is_not() {
        let (a, b) = (("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::g() }"));
        assert!(findings(&[a, b]).is_empty());
        let ring = findings(&[a, ("b.rs", "use super::c::{D, E};"), ("c.rs", "use crate::a::A;")]);
        assert!(ring[0].starts_with("3 files import each other"), "{ring:?}");
    }

    #[test]
    fn tests_do_not_make_a_ring() {
        let test = "#[cfg(test)]\nmod tests { use crate::a::A; }";
        assert!(findings(&[("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", test)]).is_empty());
    }

    #[test]
    fn a_ring_through_a_folder_is_found() {
        let ring = findings(&[
            ("a/mod.rs", "pub mod b;\npub use b::B;"),
            ("a/b.rs", "use crate::c::f;"),
            ("c.rs", "use crate::a::g;"),
        ]);
        assert_eq!(ring.len(), 1, "{ring:?}");
    }

    #[test]
    fn types_come_from_where_they_are_defined() {
        let found = findings(&[("lib.rs", "mod a;\npub use a::A;"), ("a.rs", ""), ("b.rs", "use crate::A;")]);
        assert!(found[0].contains("crate::A comes through crates/x/src/lib.rs"), "{found:?}");
        assert!(findings(&[("lib.rs", "mod a;"), ("a.rs", ""), ("b.rs", "use crate::a::A;")]).is_empty());
    }

    #[test]
    fn the_error_type_knows_only_files_that_know_no_other() {
        let app = ("app.rs", "use crate::leaf::Leaf;");
        let leaf = ("leaf.rs", "use apium_protocol::id::TaskId;");
        let error = |text| ("error.rs", text);
        assert_eq!(findings(&[error("use crate::app::App;"), app, leaf]), ["error.rs must not import crate::app::App"]);
        assert_eq!(findings(&[error("use apium_transport::error::Error;")]).len(), 1);
        assert!(findings(&[error("use apium_protocol::id::TaskId;\nuse crate::leaf::Leaf;"), leaf]).is_empty());
    }
}
