//! Which file of a crate a path in the code leads to.

use std::collections::BTreeMap;

use crate::tidy::source::paths::Mention;
use crate::tidy::source::rust::Source;

/// The files of one crate by their module paths.
pub(crate) type Modules<'s> = BTreeMap<Vec<String>, &'s str>;

/// The sources below the `src` folders of the workspace by their crates' folders, without programs of one file.
pub(crate) fn by_crate<'s, 'f>(sources: &'s [Source<'f>]) -> BTreeMap<&'f str, Vec<&'s Source<'f>>> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        if let Some((root, inside)) = source.path().split_once("/src/")
            && !inside.starts_with("bin/")
        {
            crates.entry(root).or_default().push(source);
        }
    }
    crates
}

/// The modules of one crate.
pub(crate) fn modules<'f>(sources: &[&Source<'f>]) -> Modules<'f> {
    sources.iter().map(|source| (module(source.path()), source.path())).collect()
}

/// The module path of a file: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`, `src/lib.rs` is the root.
pub(crate) fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside).trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The file that a path leads to, and the segments behind it; nothing for a path to another crate.
pub(crate) fn resolve<'s>(modules: &Modules<'s>, own: &[String], mention: &Mention) -> Option<(&'s str, Vec<String>)> {
    let mut segments = mention.segments.as_slice();
    let mut base: Vec<String> = own.iter().chain(&mention.inside).cloned().collect();
    match segments.first()?.as_str() {
        "crate" => {
            base.clear();
            segments = &segments[1..];
        }
        "self" => segments = &segments[1..],
        "super" => {
            while segments.first().is_some_and(|first| first == "super") {
                base.pop();
                segments = &segments[1..];
            }
        }
        // A bare name is a child of this module, or another crate.
        child => {
            base.push(child.to_owned());
            modules.get(&base)?;
            segments = &segments[1..];
        }
    }
    let mut rest = segments;
    let mut found = (1..=base.len()).rev().find_map(|n| modules.get(&base[..n])).or_else(|| modules.get(&Vec::new()));
    let mut path = base;
    for (i, segment) in segments.iter().enumerate() {
        path.push(segment.clone());
        if let Some(file) = modules.get(&path) {
            found = Some(file);
            rest = &segments[i + 1..];
        }
    }
    found.map(|file| (*file, rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;
    use crate::tidy::source::paths::mentions;

    /// Where each path in `code`, which stands in `own`, leads to.
    fn targets(own: &str, code: &str) -> Vec<Option<String>> {
        let path = |inside: &str| format!("crates/x/src/{inside}");
        let paths = ["lib.rs", "a/mod.rs", "a/b.rs", "c.rs", "bin/x.rs"];
        let files: Vec<File> = paths.map(|inside| File { path: path(inside), text: String::new() }).into();
        let sources: Vec<Source> = files.iter().map(Source::new).collect();
        let modules = modules(&by_crate(&sources)["crates/x"]);
        assert_eq!(modules.len(), 4, "a program is no module");
        let target = |mention| {
            let (target, rest) = resolve(&modules, &module(&path(own)), &mention)?;
            Some(format!("{} {}", target.trim_start_matches("crates/x/src/"), rest.join("::")))
        };
        mentions(code).into_iter().map(target).collect()
    }

    #[test]
    fn a_path_leads_to_the_file_of_its_longest_module() {
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(
            targets("c.rs", "use crate::a::b::T; use crate::a::T; use super::a::b;"),
            [to("a/b.rs T"), to("a/mod.rs T"), to("a/b.rs ")]
        );
        assert_eq!(
            targets("a/mod.rs", "use b::T; use self::b::f; use super::c::g;"),
            [to("a/b.rs T"), to("a/b.rs f"), to("c.rs g")]
        );
    }

    #[test]
    fn a_path_to_another_crate_leads_nowhere() {
        assert_eq!(targets("c.rs", "use serde::Serialize;"), [None]);
    }
}
