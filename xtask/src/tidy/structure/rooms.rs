//! Rooms: the folders of a crate have an order from the ground up, and imports go down.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::finding::Finding;
use crate::tidy::layers::{Layers, Rooms};
use crate::tidy::source::paths::mentions;
use crate::tidy::source::rust::Source;
use crate::tidy::structure::folders::rooms;
use crate::tidy::structure::modules::{by_crate, module, modules, resolve};

/// Checks the crates of the house. A file in the root of a crate is its face: it belongs to no room, uses what it likes
/// and may be used by all.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let crates = by_crate(sources);
    for (folder, sources) in &crates {
        let Some(name) = folder.strip_prefix("crates/") else { continue };
        let there = rooms(sources);
        match layers.rooms.get(name) {
            Some(rules) => findings.extend(check_crate(name, rules, &there, sources)),
            None if there.len() > 1 => {
                let text = format!("give the rooms {} an order in [rooms.{name}]", joined(&there));
                findings.push(Finding::of("layers.toml", text));
            }
            None => {}
        }
    }
    let gone = layers.rooms.keys().filter(|name| !crates.contains_key(&*format!("crates/{name}")));
    findings.extend(gone.map(|name| Finding::of("layers.toml", format!("[rooms.{name}] names no crate"))));
    findings
}

fn check_crate(name: &str, rules: &Rooms, there: &BTreeSet<&str>, sources: &[&Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut at_fault = |text: String| findings.push(Finding::of("layers.toml", format!("[rooms.{name}] {text}")));
    for room in there.iter().filter(|room| !rules.order.iter().any(|listed| listed == *room)) {
        at_fault(format!("has no place for the room {room}"));
    }
    for room in rules.order.iter().filter(|room| !there.contains(room.as_str())) {
        at_fault(format!("names the room {room}, which is not there"));
    }
    let upwards = upwards(rules, sources);
    for listed in rules.up.keys().filter(|listed| !upwards.contains_key(*listed)) {
        at_fault(format!("lists {listed:?}, which is no import upwards any more: take it off"));
    }
    for (import, (path, line)) in upwards.iter().filter(|(import, _)| !rules.up.contains_key(*import)) {
        let text = format!("{import} goes up: the lower room must not know the higher one");
        findings.push(Finding::at(path, *line, text));
    }
    findings
}

/// The imports that go up, as `room/file -> room`, each with where it is first.
fn upwards(rules: &Rooms, sources: &[&Source]) -> BTreeMap<String, (String, usize)> {
    let modules = modules(sources);
    let floor = |room: &str| rules.order.iter().position(|listed| listed == room);
    let mut found = BTreeMap::new();
    for source in sources {
        let Some((own, inside)) = room_of(source.path()) else { continue };
        for mention in mentions(source.shipped()) {
            let Some((target, _)) = resolve(&modules, &module(source.path()), &mention) else { continue };
            let Some((room, _)) = room_of(target) else { continue };
            if let (Some(from), Some(to)) = (floor(own), floor(room))
                && to > from
            {
                let import = format!("{} -> {room}", inside.trim_end_matches(".rs"));
                found.entry(import).or_insert_with(|| (source.path().to_owned(), mention.line));
            }
        }
    }
    found
}

/// The room of a file and its path below `src`; nothing for a file in the root.
fn room_of(path: &str) -> Option<(&str, &str)> {
    let (_, inside) = path.split_once("/src/")?;
    inside.split_once('/').map(|(room, _)| (room, inside))
}

fn joined(rooms: &BTreeSet<&str>) -> String {
    rooms.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    /// What is found in a crate whose room `high` stands above its room `low`.
    fn findings(up: &str, files: &[(&str, &str)]) -> Vec<String> {
        let layers = Layers::of_test(&format!("[rooms.x]\norder = [\"low\", \"high\"]\n[rooms.x.up]\n{up}"));
        let file =
            |(path, text): &(&str, &str)| File { path: format!("crates/x/src/{path}"), text: (*text).to_owned() };
        let rooms = [("lib.rs", ""), ("low/mod.rs", ""), ("high/mod.rs", ""), ("high/b.rs", ""), ("face.rs", "")];
        let files: Vec<File> = files.iter().chain(&rooms).map(file).collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&layers, &sources).into_iter().map(|finding| finding.shown()).collect()
    }

    const UP: (&str, &str) = ("low/a.rs", "//! A.\nuse crate::high::b::B;");

    #[test]
    fn an_import_upwards_is_found() {
        assert_eq!(
            findings("", &[UP]),
            ["crates/x/src/low/a.rs:2: low/a -> high goes up: the lower room must not know the higher one"]
        );
        assert_eq!(findings("", &[("low/a.rs", "fn f() { super::super::high::b::g() }")]).len(), 1);
    }

    #[test]
    fn imports_downwards_and_those_of_the_root_and_of_tests_are_free() {
        assert!(findings("", &[("high/a.rs", "use crate::low::L;"), ("low/a.rs", "use crate::face::F;")]).is_empty());
        assert!(findings("", &[("start.rs", "use crate::high::b::B; use crate::low::L;")]).is_empty());
        assert!(findings("", &[("low/a.rs", "#[cfg(test)]\nmod tests { use crate::high::b::B; }")]).is_empty());
    }

    #[test]
    fn a_listed_import_is_free_until_it_is_gone() {
        assert!(findings("\"low/a -> high\" = \"why\"", &[UP]).is_empty());
        assert_eq!(
            findings("\"low/a -> high\" = \"why\"", &[]),
            ["layers.toml: [rooms.x] lists \"low/a -> high\", which is no import upwards any more: take it off"]
        );
    }

    #[test]
    fn every_room_has_its_place_in_the_order_and_every_crate_with_rooms_has_one() {
        assert_eq!(findings("", &[("other/a.rs", "")]), ["layers.toml: [rooms.x] has no place for the room other"]);
        let file = |path: &str| File { path: path.to_owned(), text: String::new() };
        let files = [file("crates/y/src/a/mod.rs"), file("crates/y/src/b/mod.rs"), file("crates/x/src/low/mod.rs")];
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        let layers = Layers::of_test("[rooms.x]\norder = [\"low\", \"high\"]\n[rooms.gone]\norder = []\n");
        let found: Vec<String> = check(&layers, &sources).into_iter().map(|finding| finding.text).collect();
        assert_eq!(
            found,
            [
                "[rooms.x] names the room high, which is not there",
                "give the rooms a, b an order in [rooms.y]",
                "[rooms.gone] names no crate"
            ]
        );
    }
}
