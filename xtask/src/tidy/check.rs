//! Runs every rule over the repository.

use crate::commands::Answer;
use crate::files;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::naming::{empty_names, glossary, one_meaning};
use crate::tidy::producer;
use crate::tidy::source::rust::Source;
use crate::tidy::structure::{
    absent, drivers, floors, folders, foreign_types, imports, non_exhaustive, rooms, roots, size, walk,
};
use crate::tidy::text::links::Places;
use crate::tidy::text::{calls, causes, documents, examples, machine, outside, width};
use crate::{output, process};

/// Checks the repository and prints every breach.
pub(crate) fn run(_args: &[String]) -> Answer {
    let findings = all()?;
    for finding in &findings {
        output::line(&finding.shown());
    }
    output::line(&match findings.len() {
        0 => "tidy: every rule holds".to_owned(),
        n => format!("tidy: {n} breaches"),
    });
    Ok(findings.is_empty())
}

/// Every breach in the repository.
fn all() -> Result<Vec<Finding>, String> {
    let root = process::root()?;
    let files = files::all(&root)?;
    let layers = Layers::read(&files)?;
    let metadata = process::read(process::cargo(&["metadata", "--format-version=1", "--no-deps"])?)?;
    let packages = floors::packages(&metadata)?;
    let sources: Vec<Source> = files.iter().filter(|file| file.has_ending("rs")).map(Source::new).collect();

    let mut findings = floors::check(&layers, &packages);
    findings.extend(producer::check(&layers, &producer::tree()?));
    findings.extend(absent::check(&layers, &packages, &sources));
    findings.extend(imports::check(&sources));
    findings.extend(folders::check(&layers, &sources));
    findings.extend(rooms::check(&layers, &sources));
    findings.extend(drivers::check(&layers, &sources));
    findings.extend(walk::check(&layers, &sources));
    findings.extend(size::check(&layers, &sources));
    findings.extend(glossary::check(&layers, &sources));
    findings.extend(one_meaning::check(&layers, &sources));
    findings.extend(non_exhaustive::check(&layers, &sources));
    findings.extend(foreign_types::check(&layers, &packages, &sources, &files));
    let places = Places::new(&files, &root);
    for source in &sources {
        findings.extend(roots::check(source));
        findings.extend(empty_names::check(source));
        findings.extend(calls::check(source));
        findings.extend(causes::check(source));
        findings.extend(width::check(&layers, source));
        findings.extend(outside::check(&layers, source));
        findings.extend(places.check_comments(source));
    }
    for file in &files {
        findings.extend(machine::check(file));
        findings.extend(examples::check(file));
        if !file.has_ending("rs") {
            findings.extend(outside::check_file(&layers, file));
        }
        if file.has_ending("md") {
            findings.extend(documents::check(file, &root));
            findings.extend(places.check(file));
            findings.extend(width::check_document(&layers, file));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings: Vec<String> = all().unwrap().iter().map(Finding::shown).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
