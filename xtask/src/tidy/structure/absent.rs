//! Invariants of absence: what a crate or file must never mention.

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;
use crate::tidy::structure::floors::Package;

/// Looks for what `layers.toml` says is absent. A key that ends with `.rs` is a file, any other a crate.
pub(crate) fn check(layers: &Layers, packages: &[Package], sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, absent) in &layers.absent {
        let prefix = if place.ends_with(".rs") { place.clone() } else { format!("crates/{place}/src/") };
        let mut inside = sources.iter().filter(|source| source.path().starts_with(&prefix)).peekable();
        if inside.peek().is_none() {
            findings.push(Finding::of("layers.toml", format!("[absent] names {place}, which is not there")));
        }
        let package = packages.iter().find(|package| package.name == *place);
        let used = package.into_iter().flat_map(|package| &package.uses).filter(|used| absent.crates.contains(used));
        findings.extend(used.map(|used| Finding::of(place, format!("must not depend on {used}"))));
        for source in inside {
            for (line, text) in source.shipped().lines().enumerate() {
                let found = absent.words.iter().filter(|word| text.contains(word.as_str()));
                findings.extend(
                    found.map(|word| Finding::at(source.path(), line + 1, format!("{place} must not use {word}"))),
                );
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(uses: &[&str], code: &str) -> Vec<String> {
        let layers = Layers::of_test("[absent.low]\ncrates = [\"tokio\"]\nwords = [\"std::env\"]\n");
        let uses = uses.iter().map(|&name| name.to_owned()).collect();
        let package = Package { name: "low".to_owned(), uses, tests_use: vec!["tokio".to_owned()] };
        let file = File { path: "crates/low/src/a.rs".to_owned(), text: code.to_owned() };
        check(&layers, &[package], &[Source::new(&file)]).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_foreign_crate_is_found_among_the_dependencies_of_the_code() {
        assert_eq!(findings(&["tokio"], ""), ["must not depend on tokio"]);
        assert!(findings(&["bytes"], "").is_empty());
    }

    #[test]
    fn a_word_is_found_in_code_but_not_in_comments_or_tests() {
        assert_eq!(findings(&[], "fn f() { std::env::var(\"X\"); }"), ["low must not use std::env"]);
        assert!(findings(&[], "// std::env\n#[cfg(test)]\nmod tests { use std::env; }").is_empty());
    }
}
