//! Folders: how many files one holds, what opens it, and that no file has the name of the folder beside it.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;

/// The most letters of the sentence that opens a folder.
const SENTENCE: usize = 240;

/// Checks every folder of sources below a `src` or `tests` folder. A folder of tests may be small.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let folders = folders(sources);
    let mut findings = Vec::new();
    for (folder, files) in &folders {
        findings.extend(too_many_or_few(layers, folder, files.len()));
        findings.extend(files.iter().flat_map(|source| beside_its_folder(&folders, source)));
        if folder.contains("/src/") && !is_programs(folder) {
            findings.extend(opening(folder, files));
        }
    }
    let gone = layers.folders.small.keys().filter(|folder| !folders.contains_key(folder.as_str()));
    findings.extend(
        gone.map(|folder| Finding::of("layers.toml", format!("[folders.small] names {folder}, which is not there"))),
    );
    findings
}

/// The folders with the sources that stand in each, not those in folders below.
fn folders<'s, 'f>(sources: &'s [Source<'f>]) -> BTreeMap<&'f str, Vec<&'s Source<'f>>> {
    let mut folders: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        let Some((folder, _)) = source.path().rsplit_once('/') else { continue };
        if folder.split('/').any(|part| matches!(part, "src" | "tests")) {
            folders.entry(folder).or_default().push(source);
        }
    }
    folders
}

/// Whether the folder holds programs of one file each, which belong to no module.
fn is_programs(folder: &str) -> bool {
    folder.ends_with("/src/bin")
}

fn too_many_or_few(layers: &Layers, folder: &str, files: usize) -> Option<Finding> {
    let rule = &layers.folders;
    if files > rule.most {
        let text = format!("{files} files; {} are the most: the next one asks for a second idea", rule.most);
        return Some(Finding::of(folder, text));
    }
    let is_code = folder.split('/').any(|part| part == "src") && !is_programs(folder);
    let is_small = is_code && files < rule.least;
    match (is_small, rule.small.contains_key(folder)) {
        (true, false) => {
            let text = format!("{files} files; {} are the fewest: it belongs to the idea beside it", rule.least);
            Some(Finding::of(folder, text))
        }
        (false, true) => {
            Some(Finding::of("layers.toml", format!("{folder} is no longer small: take it off [folders.small]")))
        }
        _ => None,
    }
}

/// A file `x.rs` beside a folder `x`.
fn beside_its_folder(folders: &BTreeMap<&str, Vec<&Source>>, source: &Source) -> Option<Finding> {
    let inside = format!("{}/", source.path().trim_end_matches(".rs"));
    let stands = folders.keys().any(|folder| format!("{folder}/").starts_with(&inside));
    stands.then(|| Finding::of(source.path(), format!("stands beside the folder {inside}: move it to {inside}mod.rs")))
}

/// Every folder of modules has a `mod.rs`, whose first paragraph begins with a sentence of one breath.
fn opening(folder: &str, files: &[&Source]) -> Option<Finding> {
    let Some(root) = files.iter().find(|source| source.file().name() == "mod.rs") else {
        return Some(Finding::of(folder, "has no mod.rs that says what lives there"));
    };
    let lines = root.file().text.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = [". ", ": ", "; "].iter().filter_map(|end| paragraph.find(end)).min();
    let end = end.or_else(|| paragraph.ends_with(['.', ':']).then_some(paragraph.len()));
    let text = match end {
        Some(end) if paragraph[..end].chars().count() <= SENTENCE => return None,
        Some(_) => format!("opens with a sentence of more than {SENTENCE} letters: say in one breath what lives here"),
        None => "opens without a sentence that says what lives here".to_owned(),
    };
    Some(Finding::at(root.path(), 1, text))
}

/// The folders of modules of one crate below its `src`: its rooms, in the order of their names.
pub(crate) fn rooms<'s>(sources: &[&'s Source]) -> BTreeSet<&'s str> {
    let inside = sources.iter().filter_map(|source| source.path().split_once("/src/"));
    inside.filter_map(|(_, inside)| inside.split_once('/')).map(|(room, _)| room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    /// What is found among empty files; the limits of the tests are 2 and 3 files.
    fn findings(paths: &[&str]) -> Vec<String> {
        let layers = Layers::of_test("[folders.small]\n\"crates/tiny/src\" = \"one idea\"\n");
        let paths = paths.iter().chain(&["crates/tiny/src/lib.rs"]);
        let files: Vec<File> =
            paths.map(|path| File { path: (*path).to_owned(), text: "//! What lives here.".to_owned() }).collect();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        check(&layers, &sources).into_iter().map(|finding| finding.shown()).collect()
    }

    fn opening_of(text: &str) -> Option<String> {
        let file = File { path: "crates/x/src/a/mod.rs".to_owned(), text: text.to_owned() };
        opening("crates/x/src/a", &[&Source::new(&file)]).map(|finding| finding.text)
    }

    #[test]
    fn a_folder_holds_neither_too_many_files_nor_too_few() {
        assert!(findings(&["crates/x/src/lib.rs", "crates/x/src/a.rs", "crates/x/src/b.rs"]).is_empty());
        assert_eq!(
            findings(&["crates/x/src/lib.rs"]),
            ["crates/x/src: 1 files; 2 are the fewest: it belongs to the idea beside it"]
        );
        let four = ["a", "b", "c", "d"].map(|name| format!("xtask/src/{name}.rs"));
        assert_eq!(findings(&four.each_ref().map(String::as_str)).len(), 1);
    }

    #[test]
    fn programs_and_tests_may_be_few_but_not_many() {
        assert!(findings(&["crates/x/src/bin/x.rs", "crates/x/tests/it/main.rs"]).is_empty());
        let four = ["a", "b", "c", "d"].map(|name| format!("crates/x/tests/it/{name}.rs"));
        assert_eq!(findings(&four.each_ref().map(String::as_str)).len(), 1);
    }

    #[test]
    fn a_small_folder_is_on_the_list_as_long_as_it_is_small() {
        assert_eq!(
            findings(&["crates/tiny/src/a.rs"]),
            ["layers.toml: crates/tiny/src is no longer small: take it off [folders.small]"]
        );
        assert_eq!(check(&Layers::of_test("[folders.small]\n\"crates/gone/src\" = \"x\"\n"), &[]).len(), 1);
    }

    #[test]
    fn no_file_stands_beside_the_folder_of_its_name() {
        let (lib, root, file) = ("crates/x/src/lib.rs", "crates/x/src/a/mod.rs", "crates/x/src/a/b.rs");
        assert!(findings(&[lib, root, file, "crates/x/src/ab.rs"]).is_empty());
        assert_eq!(findings(&[lib, root, file, "crates/x/src/a.rs"]).len(), 1);
    }

    #[test]
    fn a_folder_opens_with_a_sentence() {
        assert_eq!(opening_of("//! What lives here, in words\n//! of two lines.\n\nmod b;"), None);
        assert_eq!(opening_of("//! The rules: one a file"), None);
        assert!(opening_of("//! Rules").unwrap().contains("without a sentence"));
        assert!(opening_of("mod b;").unwrap().contains("without a sentence"));
        assert!(opening_of(&format!("//! {}.", "words ".repeat(50))).unwrap().contains("240 letters"));
    }

    #[test]
    fn a_folder_of_modules_has_a_root() {
        let folder = ["crates/x/src/lib.rs", "crates/x/src/c.rs", "crates/x/src/a/b.rs", "crates/x/src/a/c.rs"];
        assert_eq!(findings(&folder), ["crates/x/src/a: has no mod.rs that says what lives there"]);
    }
}
