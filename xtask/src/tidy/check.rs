//! Runs every rule over the repository.

use crate::commands::Answer;
use crate::files::{self, File};
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::rust::Source;
use crate::tidy::{absent, floors, imports, prose, roots, size, words};
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
    findings.extend(absent::check(&layers, &packages, &sources));
    findings.extend(imports::check(&sources));
    findings.extend(size::check(&layers, &sources));
    for source in &sources {
        findings.extend(roots::check(source));
        findings.extend(words::check(source));
    }
    findings.extend(files.iter().flat_map(words::check_text));
    let documents: Vec<&File> = files.iter().filter(|file| file.has_ending("md")).collect();
    findings.extend(documents.iter().flat_map(|file| prose::check(file, &root)));
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
