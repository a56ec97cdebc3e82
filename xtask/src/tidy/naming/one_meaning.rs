//! One meaning for a name: a type that others see has a name of its own in its crate, and among the crates.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::declarations::{Kind, declarations};
use crate::tidy::source::rust::Source;
use crate::tidy::structure::modules::by_crate;

/// Checks the types and traits of the house that are `pub` in some way. Two in one file, each under a `#[cfg]`, are
/// one.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut crates_of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut repeated = BTreeSet::new();
    for (folder, sources) in by_crate(sources) {
        let Some(name) = folder.strip_prefix("crates/") else { continue };
        for (type_name, files) in files_by_type(&sources) {
            if let [first, others @ ..] = files.as_slice()
                && !others.is_empty()
            {
                let key = format!("{name}: {type_name}");
                if !layers.same_in_crate.contains_key(&key) {
                    let text = format!("{type_name} is a type in {} too: one meaning, one name", others.join(" and "));
                    findings.push(Finding::of(first, text));
                }
                repeated.insert(key);
            }
            crates_of.entry(type_name).or_default().push(name);
        }
    }
    crates_of.retain(|_, crates| crates.len() > 1);
    for (type_name, crates) in crates_of.iter().filter(|(type_name, _)| !layers.same_in_crates.contains_key(*type_name))
    {
        let text = format!("{type_name} is a type in {}: give one of them a name of its own", crates.join(" and "));
        findings.push(Finding::of(crates[0], text));
    }
    let gone = layers.same_in_crates.keys().filter(|type_name| !crates_of.contains_key(*type_name));
    let gone = gone.chain(layers.same_in_crate.keys().filter(|key| !repeated.contains(*key)));
    findings.extend(
        gone.map(|key| Finding::of("layers.toml", format!("[same] names {key:?}, which is one type: take it off"))),
    );
    findings
}

/// The files of one crate that declare each type.
fn files_by_type<'f>(sources: &[&Source<'f>]) -> BTreeMap<String, Vec<&'f str>> {
    let mut files: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in sources {
        let shared = declarations(source.shipped()).into_iter().filter(|declared| declared.shared);
        for declared in shared.filter(|declared| matches!(declared.kind, Kind::Type | Kind::Trait)) {
            let paths = files.entry(declared.name).or_default();
            if !paths.contains(&source.path()) {
                paths.push(source.path());
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let layers = Layers::of_test(
            "[same.in_crates]\nInFlight = \"the same idea\"\n[same.in_crate]\n\"v: Args\" = \"each its own\"\n",
        );
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        let same = [("crates/v/src/a.rs", "pub struct InFlight;"), ("crates/w/src/a.rs", "pub struct InFlight;")];
        let args = [("crates/v/src/b.rs", "pub struct Args;"), ("crates/v/src/c.rs", "pub struct Args;")];
        let files: Vec<File> = same.iter().chain(&args).chain(files).map(file).collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&layers, &sources).into_iter().map(|finding| finding.shown()).collect()
    }

    #[test]
    fn a_name_twice_in_a_crate_is_found() {
        assert_eq!(
            findings(&[("crates/x/src/a.rs", "pub struct Plan;"), ("crates/x/src/b.rs", "pub(crate) enum Plan {}")]),
            ["crates/x/src/a.rs: Plan is a type in crates/x/src/b.rs too: one meaning, one name"]
        );
    }

    #[test]
    fn a_name_in_two_crates_is_found_unless_it_is_the_same_idea() {
        assert_eq!(
            findings(&[("crates/x/src/a.rs", "pub struct Plan;"), ("crates/y/src/a.rs", "pub trait Plan {}")]),
            ["x: Plan is a type in x and y: give one of them a name of its own"]
        );
        assert!(findings(&[("crates/x/src/a.rs", "pub struct InFlight;")]).is_empty());
    }

    #[test]
    fn names_of_one_file_and_names_beside_the_house_are_free() {
        assert!(findings(&[("crates/x/src/a.rs", "struct State;"), ("crates/x/src/b.rs", "struct State;")]).is_empty());
        assert!(
            findings(&[
                ("crates/x/src/a.rs", "pub struct Plan;"),
                ("xtask/src/a.rs", "pub struct Plan;"),
                ("xtask/src/b.rs", "pub struct Plan;")
            ])
            .is_empty()
        );
        let both = "#[cfg(unix)]\npub struct Plan;\n#[cfg(not(unix))]\npub struct Plan;";
        assert!(findings(&[("crates/x/src/a.rs", both)]).is_empty());
    }

    #[test]
    fn a_permission_that_nobody_needs_is_found() {
        let layers = Layers::of_test("[same.in_crates]\nGone = \"x\"\n[same.in_crate]\n\"x: Gone\" = \"x\"\n");
        assert_eq!(check(&layers, &[]).len(), 2);
    }
}
