//! The code in the chapters of the guide. It is copied from the examples, which the tests compile and run.
//!
//! In an example the lines `// guide: NAME` and `// guide end` are around a region; in a TOML text they begin with `#`.
//! In a chapter a line `<!-- examples/FILE: NAME, NAME -->` stands before a block and says which regions are in it. A
//! block of Rust must have such a line.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::File;

/// The folder of the chapters.
const CHAPTERS: &str = "docs/guide/";
/// The folder from which a chapter names its examples.
const CRATE: &str = "crates/apium/";
/// What is in that folder.
const EXAMPLES: &str = "crates/apium/examples/";

/// A chapter with the code that its regions have now.
#[derive(Debug)]
pub(crate) struct Chapter {
    /// Its path.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// Every chapter.
///
/// # Errors
/// All that is wrong with the regions and the blocks, one a line, each with its file and line.
pub(crate) fn chapters(files: &[File]) -> Result<Vec<Chapter>, String> {
    let (regions, mut wrong) = regions(files);
    let mut shown = BTreeSet::new();
    let mut chapters = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(CHAPTERS) && file.has_ending("md")) {
        let mut filling = Filling { file, regions: &regions, shown: &mut shown, wrong: &mut wrong };
        chapters.push(Chapter { path: file.path.clone(), text: filling.fill() });
    }
    let unused = regions.iter().filter(|(key, _)| !shown.contains(*key));
    wrong.extend(unused.map(|((path, name), region)| {
        format!("{path}:{}: no chapter of the guide shows the region {name:?}", region.line)
    }));
    if wrong.is_empty() { Ok(chapters) } else { Err(wrong.join("\n")) }
}

/// A region: the path of its example, and its name.
type Key = (String, String);

/// The lines between two marks.
#[derive(Debug)]
struct Region {
    /// The line of its first mark.
    line: usize,
    /// Its lines, without the indent that all of them have.
    text: String,
}

/// The regions of all examples, and what is wrong with their marks.
fn regions(files: &[File]) -> (BTreeMap<Key, Region>, Vec<String>) {
    let (mut regions, mut wrong) = (BTreeMap::new(), Vec::new());
    for file in files.iter().filter(|file| file.path.starts_with(EXAMPLES) && file.has_ending("rs")) {
        let mut open: Option<(usize, &str, Vec<&str>)> = None;
        for (i, line) in file.text.lines().enumerate() {
            let at = |text: &str| format!("{}:{}: {text}", file.path, i + 1);
            match mark(line) {
                Some(Mark::Begin(name)) => {
                    if let Some((_, outer, _)) = open.replace((i + 1, name, Vec::new())) {
                        wrong.push(at(&format!("the region {outer:?} has not ended")));
                    }
                }
                Some(Mark::End) => {
                    let Some((line, name, lines)) = open.take() else {
                        wrong.push(at("the end of a region that did not begin"));
                        continue;
                    };
                    let key = (file.path.clone(), name.to_owned());
                    if regions.insert(key, Region { line, text: dedented(&lines) }).is_some() {
                        wrong.push(at(&format!("there are two regions {name:?}")));
                    }
                }
                None => {
                    if let Some((_, _, lines)) = &mut open {
                        lines.push(line);
                    }
                }
            }
        }
        if let Some((line, name, _)) = open {
            wrong.push(format!("{}:{line}: the region {name:?} does not end", file.path));
        }
    }
    (regions, wrong)
}

/// A line that begins or ends a region.
enum Mark<'l> {
    Begin(&'l str),
    End,
}

fn mark(line: &str) -> Option<Mark<'_>> {
    let line = line.trim();
    let comment = line.strip_prefix("// ").or_else(|| line.strip_prefix("# "))?;
    match comment.strip_prefix("guide: ") {
        Some(name) => Some(Mark::Begin(name)),
        None => (comment == "guide end").then_some(Mark::End),
    }
}

/// The lines without the indent that all of them have, and without empty lines around them.
fn dedented(lines: &[&str]) -> String {
    let indent_of = |line: &&&str| line.len() - line.trim_start().len();
    let indent = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| indent_of(&line)).min().unwrap_or(0);
    let lines: Vec<&str> = lines.iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Fills one chapter.
struct Filling<'a> {
    file: &'a File,
    regions: &'a BTreeMap<Key, Region>,
    shown: &'a mut BTreeSet<Key>,
    wrong: &'a mut Vec<String>,
}

impl Filling<'_> {
    /// The text of the chapter with the code of its regions.
    fn fill(&mut self) -> String {
        let mut filled = String::new();
        let mut lines = self.file.text.lines().enumerate().peekable();
        let mut code = None;
        while let Some((i, line)) = lines.next() {
            filled.push_str(line);
            filled.push('\n');
            if let Some(named) = named_regions(line) {
                if lines.peek().is_none_or(|(_, next)| !next.starts_with("```")) {
                    self.object(i, "a block of code must follow the line that names its regions");
                    continue;
                }
                code = Some(self.code_of(i, named));
            } else if let Some(language) = line.trim_start().strip_prefix("```") {
                let code = code.take();
                if code.is_none() && language.starts_with("rust") {
                    self.object(
                        i,
                        "a block of Rust without a line that names its region: <!-- examples/FILE: NAME -->",
                    );
                }
                if let Some(code) = &code {
                    filled.push_str(code);
                }
                for (_, line) in lines.by_ref() {
                    let ends = line.trim_start() == "```";
                    if ends || code.is_none() {
                        filled.extend([line, "\n"]);
                    }
                    if ends {
                        break;
                    }
                }
            }
        }
        filled
    }

    /// The code of the regions that are named in line `i`, with an empty line between two of them.
    fn code_of(&mut self, i: usize, (example, names): (&str, &str)) -> String {
        let mut code = Vec::new();
        for name in names.split(',').map(str::trim) {
            let key = (format!("{CRATE}{example}"), name.to_owned());
            match self.regions.get(&key) {
                Some(region) => code.push(region.text.as_str()),
                None => self.object(i, &format!("{} has no region {name:?}", key.0)),
            }
            self.shown.insert(key);
        }
        code.join("\n\n") + "\n"
    }

    fn object(&mut self, i: usize, text: &str) {
        self.wrong.push(format!("{}:{}: {text}", self.file.path, i + 1));
    }
}

/// The example and the names of regions in a line such as `<!-- examples/guide_retry.rs: backoff -->`.
fn named_regions(line: &str) -> Option<(&str, &str)> {
    let inner = line.strip_prefix("<!-- examples/")?.strip_suffix("-->")?;
    let names = inner.split_once(':')?.1;
    // With the folder, as the line has it.
    Some((line["<!-- ".len()..].split(':').next()?, names.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "fn main() {\n    // guide: two\n    if a {\n        b();\n    }\n    // guide end\n}\n\
                           // guide: one\n\nc();\n// guide end\n";

    fn filled(example: &str, chapter: &str) -> Result<String, String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [file("crates/apium/examples/x.rs", example), file("docs/guide/a.md", chapter)];
        chapters(&files).map(|mut chapters| chapters.remove(0).text)
    }

    #[test]
    fn a_block_gets_the_code_of_its_regions() {
        let chapter = "A.\n\n<!-- examples/x.rs: two, one -->\n```rust\nold\n```\n\nB.\n";
        let new = "A.\n\n<!-- examples/x.rs: two, one -->\n```rust\nif a {\n    b();\n}\n\nc();\n```\n\nB.\n";
        assert_eq!(filled(EXAMPLE, chapter).unwrap(), new);
        assert_eq!(filled(EXAMPLE, new).unwrap(), new);
    }

    #[test]
    fn a_region_of_toml_has_other_comments() {
        let example = "const A: &str = \"\n# guide: a\n[b]\n# guide end\n\";\n";
        let chapter = "<!-- examples/x.rs: a -->\n```toml\n[b]\n```\n";
        assert_eq!(filled(example, chapter).unwrap(), chapter);
    }

    #[test]
    fn other_blocks_stay_as_they_are() {
        let chapter = "- A\n\n  ```toml\n  a = 1\n  ```\n\n```text\n<!-- examples/x.rs: no -->\n```\n";
        assert_eq!(filled("", chapter).unwrap(), chapter);
    }

    #[test]
    fn a_block_of_rust_names_its_region() {
        let wrong = filled("", "A.\n\n```rust\na();\n```\n").unwrap_err();
        assert!(wrong.starts_with("docs/guide/a.md:3: a block of Rust without"), "{wrong}");
    }

    #[test]
    fn a_region_that_is_not_there_and_one_that_is_not_shown_are_found() {
        let wrong = filled("// guide: a\n// guide end\n", "<!-- examples/x.rs: b -->\n```rust\n```\n").unwrap_err();
        assert_eq!(
            wrong.lines().collect::<Vec<_>>(),
            [
                "docs/guide/a.md:1: crates/apium/examples/x.rs has no region \"b\"",
                "crates/apium/examples/x.rs:1: no chapter of the guide shows the region \"a\"",
            ]
        );
    }

    #[test]
    fn a_name_without_a_block_is_found() {
        let wrong = filled(EXAMPLE, "<!-- examples/x.rs: one -->\n\nText.\n").unwrap_err();
        assert!(wrong.starts_with("docs/guide/a.md:1: a block of code must follow"), "{wrong}");
    }

    #[test]
    fn marks_that_do_not_match_are_found() {
        for (example, expected) in [
            ("// guide end\n", "x.rs:1: the end of a region that did not begin"),
            ("// guide: a\n// guide: b\n// guide end\n", "x.rs:2: the region \"a\" has not ended"),
            ("\n// guide: a\n", "x.rs:2: the region \"a\" does not end"),
            ("// guide: a\n// guide end\n// guide: a\n// guide end\n", "x.rs:4: there are two regions \"a\""),
        ] {
            let wrong = filled(example, "").unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
