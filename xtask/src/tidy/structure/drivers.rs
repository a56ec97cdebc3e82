//! Drivers: a crate that is one has the rooms that every driver has, under the same names.

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;
use crate::tidy::source::scan::places;
use crate::tidy::structure::folders::rooms;
use crate::tidy::structure::modules::by_crate;

/// The files in the root that implement the seams.
const FILES: &[&str] = &["driver", "broker"];

/// The rooms behind them.
const ROOMS: &[&str] = &["publish", "consumer", "settle", "backend"];

/// Checks the crates of the house whose code implements `Driver`.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, sources) in by_crate(sources) {
        let Some(name) = folder.strip_prefix("crates/") else { continue };
        let is_driver = sources.iter().any(|source| implements_driver(source.shipped()));
        match (is_driver, layers.not_drivers.contains_key(name)) {
            (true, false) => {
                let text = |what: String| format!("is a driver without {what}: every driver has the same rooms");
                findings.extend(missing(folder, &sources).map(|what| Finding::of(folder, text(what))));
            }
            (false, true) => {
                findings
                    .push(Finding::of("layers.toml", format!("{name} has no driver: take it off [drivers.exempt]")));
            }
            _ => {}
        }
    }
    findings
}

/// Whether `code` has an `impl … Driver for …`.
fn implements_driver(code: &str) -> bool {
    places(code, "Driver").any(|at| {
        let before = code[..at].rsplit(['{', '}', ';', ']']).next().unwrap_or_default();
        let behind = code[at + "Driver".len()..].trim_start();
        before.split_whitespace().next().is_some_and(|word| word.starts_with("impl")) && behind.starts_with("for ")
    })
}

/// What of a driver's files and rooms the crate does not have.
fn missing<'s>(folder: &'s str, sources: &'s [&Source]) -> impl Iterator<Item = String> + 's {
    let there = rooms(sources);
    let has_file = move |name: &str| {
        let path = format!("{folder}/src/{name}.rs");
        sources.iter().any(|source| source.path() == path)
    };
    let files = FILES.iter().filter(move |name| !has_file(name)).map(|name| format!("the file {name}.rs"));
    files.chain(ROOMS.iter().filter(move |room| !there.contains(**room)).map(|room| format!("the room {room}/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let layers = Layers::of_test("[drivers.exempt]\nkit = \"a kit\"\n");
        let file = |(path, text): &(&str, &str)| File { path: format!("crates/{path}"), text: (*text).to_owned() };
        let kit = ("kit/src/a.rs", "impl Driver for Kit {}");
        let files: Vec<File> = files.iter().chain(&[kit]).map(file).collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&layers, &sources).into_iter().map(|finding| finding.shown()).collect()
    }

    const DRIVER: (&str, &str) = ("x/src/driver.rs", "use a::B;\n#[c]\nimpl<T> seam::Driver for D<T> {}");

    #[test]
    fn a_driver_without_its_rooms_is_found() {
        let found = findings(&[DRIVER, ("x/src/broker.rs", ""), ("x/src/settle/mod.rs", ""), ("x/src/backend.rs", "")]);
        let text =
            |room: &str| format!("crates/x: is a driver without the room {room}/: every driver has the same rooms");
        assert_eq!(found, ["publish", "consumer", "backend"].map(text));
    }

    #[test]
    fn a_driver_with_its_rooms_is_not() {
        let rooms = ["publish", "consumer", "settle", "backend"].map(|room| format!("x/src/{room}/mod.rs"));
        let mut files = vec![DRIVER, ("x/src/broker.rs", "")];
        files.extend(rooms.iter().map(|path| (path.as_str(), "")));
        assert!(findings(&files).is_empty());
    }

    #[test]
    fn a_crate_that_uses_drivers_or_tests_with_one_is_none() {
        assert!(findings(&[("x/src/a.rs", "fn f(d: &dyn Driver) { for d in Driver::all() {} }")]).is_empty());
        assert!(findings(&[("x/src/a.rs", "#[cfg(test)]\nmod tests { impl Driver for D {} }")]).is_empty());
        assert!(findings(&[("x/tests/it/a.rs", "impl Driver for D {}")]).is_empty());
    }

    #[test]
    fn a_permission_that_nobody_needs_is_found() {
        assert_eq!(findings(&[("kit/src/a.rs", "")]).len(), 0, "the kit still has its driver");
        let layers = Layers::of_test("[drivers.exempt]\nx = \"a kit\"\n");
        let file = File { path: "crates/x/src/a.rs".to_owned(), text: String::new() };
        assert_eq!(check(&layers, &[Source::new(&file)]).len(), 1);
    }
}
