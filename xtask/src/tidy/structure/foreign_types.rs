//! Foreign types: what every user of Apium sees names types of other crates only where `layers.toml` says so, and the
//! section of `DESIGN.md` names each of these crates.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::File;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::paths::mentions;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{is_name, line_of, name_at};
use crate::tidy::source::signatures::signatures;
use crate::tidy::structure::floors::Package;
use crate::tidy::structure::modules::by_crate;

/// The heading of the section.
const SECTION: &str = "## Foreign types in the public API";

/// Checks the crates of the house and the section.
pub(crate) fn check(layers: &Layers, packages: &[Package], sources: &[Source], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for (folder, sources) in by_crate(sources) {
        let Some(name) = folder.strip_prefix("crates/").filter(|name| layers.floors.contains_key(*name)) else {
            continue;
        };
        let foreign = foreign_crates(packages, name);
        let own_types: BTreeSet<&str> = sources.iter().flat_map(|source| public_types(source.shipped())).collect();
        for source in sources {
            for (line, path) in seen(source.shipped(), &foreign, &own_types) {
                if !layers.foreign_types.contains_key(&path) && !layers.foreign_inside.contains_key(&path) {
                    let text = format!(
                        "users see {path}, a type of another crate: hide it, or name it in layers.toml and DESIGN.md"
                    );
                    findings.push(Finding::at(source.path(), line, text));
                }
                used.insert(path);
            }
        }
    }
    let gone = layers.foreign_types.keys().chain(layers.foreign_inside.keys()).filter(|path| !used.contains(*path));
    findings.extend(gone.map(|path| {
        Finding::of("layers.toml", format!("[foreign] names {path}, which no signature has: take it off"))
    }));
    findings.extend(unnamed(layers, files));
    findings
}

/// The names by which the code of a crate calls its dependencies that are not of the workspace.
fn foreign_crates(packages: &[Package], name: &str) -> BTreeSet<String> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let package = packages.iter().find(|package| package.name == name);
    let uses = package.into_iter().flat_map(|package| &package.uses);
    uses.filter(|name| !ours(name)).map(|name| name.replace('-', "_")).collect()
}

/// The types and traits that are `pub` and no more than that.
fn public_types(code: &str) -> impl Iterator<Item = &str> {
    signatures(code).into_iter().filter_map(|signature| {
        let rest = signature.text.strip_prefix("pub")?.trim_start();
        let rest = ["struct", "enum", "trait", "type"].iter().find_map(|word| rest.strip_prefix(word))?;
        Some(name_at(rest)).filter(|name| !name.is_empty())
    })
}

/// The foreign types in the signatures of `code`, as `crate::Type`, with their lines.
fn seen(code: &str, foreign: &BTreeSet<String>, own_types: &BTreeSet<&str>) -> Vec<(usize, String)> {
    let imports = imports(code, foreign);
    let mut found = Vec::new();
    for signature in signatures(code) {
        // A trait that a private type has is nobody's business.
        if signature.text.starts_with("impl") && !own_types.contains(self_type(signature.text)) {
            continue;
        }
        for path in paths(signature.text) {
            let first = path[0];
            let root = if foreign.contains(first) { Some(first) } else { imports.get(first).map(String::as_str) };
            if let (Some(root), Some(last)) = (root, path.last())
                && *last != root
            {
                found.push((line_of(code, signature.at), format!("{root}::{last}")));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What `code` imports from `foreign` crates: each name with its crate.
fn imports(code: &str, foreign: &BTreeSet<String>) -> BTreeMap<String, String> {
    let imported = mentions(code).into_iter().filter_map(|mention| {
        let (root, last) = (mention.segments.first()?.clone(), mention.segments.last()?.clone());
        (foreign.contains(&root) && mention.segments.len() > 1).then_some((last, root))
    });
    imported.collect()
}

/// The name of the type in the head of an `impl`.
fn self_type(head: &str) -> &str {
    let behind = head.rsplit_once(" for ").map_or("", |(_, behind)| behind);
    name_at(behind.trim_start().trim_start_matches(['&', '(']))
}

/// The paths in `text`, each as its names.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c: char| !is_name(c) && c != ':').unwrap_or(rest.len());
        let path: Vec<&str> = rest[..end].split("::").map(|name| name.trim_matches(':')).collect();
        let is_lifetime = text[..text.len() - rest.len()].ends_with('\'');
        if !is_lifetime && path.iter().all(|name| !name.is_empty()) {
            found.push(path);
        }
        rest = &rest[end.max(1)..];
    }
    found
}

/// The crates of the list that the section does not name.
fn unnamed(layers: &Layers, files: &[File]) -> Vec<Finding> {
    let Some(design) = files.iter().find(|file| file.path == "DESIGN.md") else { return Vec::new() };
    let section = design.text.split_once(SECTION).map_or("", |(_, behind)| behind);
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let crates: BTreeSet<&str> = layers.foreign_types.keys().filter_map(|path| path.split("::").next()).collect();
    let is_named = |name: &str| section.contains(&format!("`{name}`"));
    let missing = crates.into_iter().filter(|name| !is_named(name) && !is_named(&name.replace('_', "-")));
    missing
        .map(|name| Finding::of("DESIGN.md", format!("the section on foreign types does not name `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(code: &str, design: &str) -> Vec<String> {
        let layers = Layers::of_test("[floors]\na = 0\n[foreign.types]\n\"bytes::Bytes\" = \"a slice\"\n");
        let packages =
            [Package { name: "a".into(), uses: vec!["bytes".into(), "my-dep".into()], tests_use: Vec::new() }];
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [file("crates/a/src/a.rs", code), file("DESIGN.md", design)];
        let sources: Vec<Source> = files[..1].iter().map(Source::new).collect();
        check(&layers, &packages, &sources, &files).into_iter().map(|finding| finding.shown()).collect()
    }

    const DESIGN: &str = "## Foreign types in the public API\n\n`bytes`\n\n## Next\n`my-dep`";
    const USED: &str = "use bytes::Bytes;\npub fn f() -> Bytes {}\n";

    #[test]
    fn a_foreign_type_that_is_not_named_is_found() {
        let text = |line, path| {
            format!(
                "crates/a/src/a.rs:{line}: users see {path}, a type of another crate: hide it, or name it in layers.toml and DESIGN.md"
            )
        };
        assert_eq!(
            findings(
                &format!(
                    "{USED}use my_dep::x::{{Client, Hidden}};\npub fn g(c: &Client) {{ Hidden }}\nfn h(_: Hidden) {{}}"
                ),
                DESIGN
            ),
            [text(4, "my_dep::Client")]
        );
        assert_eq!(findings(&format!("{USED}pub type T = Vec<my_dep::x::Y>;"), DESIGN), [text(3, "my_dep::Y")]);
    }

    #[test]
    fn traits_of_public_types_count_and_those_of_others_do_not() {
        let code =
            format!("{USED}pub struct A;\nstruct B;\nimpl From<my_dep::E> for A {{}}\nimpl From<my_dep::E> for B {{}}");
        assert_eq!(findings(&code, DESIGN).len(), 1);
        assert!(findings(&code, DESIGN)[0].starts_with("crates/a/src/a.rs:5: users see my_dep::E"));
    }

    #[test]
    fn lifetimes_and_private_fields_are_no_types() {
        let code = format!("{USED}use my_dep::de;\npub struct A<'de>(&'de u8, my_dep::X);");
        assert!(findings(&code, DESIGN).is_empty());
    }

    #[test]
    fn a_permission_without_a_use_or_without_a_word_in_the_document_is_found() {
        assert_eq!(findings("", DESIGN).len(), 1);
        assert_eq!(findings(USED, "# Design"), ["DESIGN.md: the section on foreign types does not name `bytes`"]);
        assert!(findings(USED, DESIGN).is_empty());
    }
}
