//! What may grow: an enum or a struct with public fields that the facade exports is `#[non_exhaustive]`, or
//! `layers.toml` says why it is complete. Without the attribute, a new variant or field breaks users.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::paths::mentions;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::{closing, line_of, name_at, places};
use crate::tidy::structure::modules::by_crate;

/// The folder of the facade.
const FACADE: &str = "crates/apium";

/// Checks the types that the facade exports, and the list of complete types.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let crates = by_crate(sources);
    let mut findings = Vec::new();
    let mut listed = BTreeSet::new();
    for (folder, names) in exports(crates.get(FACADE).map(Vec::as_slice).unwrap_or_default()) {
        for source in crates.get(folder.as_str()).into_iter().flatten() {
            for (line, name) in growing(source.shipped()).filter(|(_, name)| names.contains(*name)) {
                let entry = format!("{}: {name}", folder.trim_start_matches("crates/"));
                if layers.complete.contains_key(&entry) {
                    listed.insert(entry);
                } else {
                    let text = format!(
                        "{name} may not grow: make it #[non_exhaustive] with a constructor, or say in layers.toml why it \
                         is complete"
                    );
                    findings.push(Finding::at(source.path(), line, text));
                }
            }
        }
    }
    let gone = layers.complete.keys().filter(|name| !listed.contains(*name));
    findings.extend(gone.map(|name| {
        Finding::of(
            "layers.toml",
            format!("[complete] names {name}, which the facade does not export or which may grow: take it off"),
        )
    }));
    findings
}

/// The names that the facade takes from each crate of the house, by the crate's folder.
fn exports(facade: &[&Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mention in facade.iter().flat_map(|source| mentions(source.shipped())) {
        let (Some(first), Some(last)) = (mention.segments.first(), mention.segments.last()) else { continue };
        if first.starts_with("apium_") {
            names.entry(format!("crates/{}", first.replace('_', "-"))).or_default().insert(last.clone());
        }
    }
    names
}

/// The public enums, and the public structs with a public field, that are not `#[non_exhaustive]`, with their lines.
fn growing(code: &str) -> impl Iterator<Item = (usize, &str)> {
    places(code, "pub").filter_map(|at| {
        let item = code[at + "pub".len()..].trim_start();
        let behind =
            item.strip_prefix("enum").or_else(|| item.strip_prefix("struct").filter(|body| has_field(body)))?;
        let name = Some(name_at(behind)).filter(|name| !name.is_empty())?;
        (!attributes(&code[..at]).contains("non_exhaustive")).then(|| (line_of(code, at), name))
    })
}

/// Whether the struct, from its name on, has a field that is `pub` and no less.
fn has_field(body: &str) -> bool {
    let Some(open) = body.find(['{', '(', ';']).filter(|&open| !body[open..].starts_with(';')) else { return false };
    let fields = &body[open..closing(body, open).unwrap_or(body.len())];
    places(fields, "pub").any(|at| !fields[at + "pub".len()..].starts_with('('))
}

/// The attributes at the end of `before`.
fn attributes(before: &str) -> &str {
    let before = before.trim_end();
    let mut start = before.len();
    while before[..start].trim_end().ends_with(']') {
        let Some(at) = before[..start].rfind("#[") else { break };
        start = at;
    }
    &before[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(code: &str, complete: &str) -> Vec<String> {
        let layers = Layers::of_test(&format!("[complete]\n{complete}"));
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("crates/apium/src/lib.rs", "pub use apium_app::room::file::{Seen, Other as Renamed};\n"),
            file("crates/apium-app/src/room/file.rs", code),
        ];
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&layers, &sources).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn what_is_exported_and_may_grow_is_non_exhaustive() {
        assert_eq!(findings("pub enum Seen { A }", "").len(), 1);
        assert_eq!(findings("pub enum Other { A }", "").len(), 1);
        assert_eq!(findings("/// A.\n#[derive(Debug)]\npub struct Seen { a: u8, pub b: u8 }", "").len(), 1);
        assert_eq!(findings("pub struct Seen(pub u8);", "").len(), 1);
        assert!(findings("#[derive(Debug)]\n#[non_exhaustive]\n#[must_use]\npub enum Seen { A }", "").is_empty());
    }

    #[test]
    fn what_users_cannot_build_or_match_may_be_as_it_is() {
        assert!(findings("pub struct Seen { a: u8, pub(crate) b: u8 }\npub struct Other;", "").is_empty());
        assert!(findings("pub enum Hidden { A }\npub(crate) enum Seen { A }", "").is_empty());
        assert!(findings("#[non_exhaustive]\npub struct Seen { pub a: u8 }\npub fn f() {}", "").is_empty());
    }

    #[test]
    fn a_complete_type_is_listed_and_the_list_is_kept_short() {
        assert!(findings("pub enum Seen { A }", "\"apium-app: Seen\" = \"it is fixed\"").is_empty());
        assert!(findings("pub struct Seen;", "\"apium-app: Seen\" = \"it is fixed\"")[0].contains("take it off"));
    }
}
