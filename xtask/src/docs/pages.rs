//! The generated pages: which there are, and whether those in the repository are up to date.

use std::fs;
use std::path::Path;

use crate::commands::Answer;
use crate::docs::coverage::{self, Covered};
use crate::docs::{celery_settings, guide, options, program, snippets};
use crate::files::{self, File};
use crate::tidy::source::rust::Source;
use crate::{output, process};

/// A generated page.
struct Page {
    path: String,
    text: String,
}

/// Prints the coverage table and writes the pages. With `--check` it only prints what is out of date or missing.
pub(crate) fn run(args: &[String]) -> Answer {
    let root = process::root()?;
    let files = files::all(&root)?;
    if args.iter().any(|arg| arg == "--check") {
        let mut wrong = gaps(&files)?;
        wrong.extend(stale(&root, &own_pages(&files)?));
        wrong.extend(stale(&root, &program_pages(&root)?));
        wrong.iter().for_each(|line| output::line(line));
        return Ok(wrong.is_empty());
    }
    let rows = guide_rows(&files)?;
    output::line(&coverage::table(&coverage::join(&rows, &tests(&files)), true));
    for page in own_pages(&files)?.into_iter().chain(program_pages(&root)?) {
        fs::write(root.join(&page.path), &page.text).map_err(|e| format!("write {}: {e}", page.path))?;
        output::step(&format!("wrote {}", page.path));
    }
    let gaps = gaps(&files)?;
    gaps.iter().for_each(|line| output::line(line));
    Ok(gaps.is_empty())
}

/// The pages that the program `apium` prints, and the one that is made of its settings. The tests of the crate `apium`
/// compare them with its binary, too.
fn program_pages(root: &Path) -> Result<Vec<Page>, String> {
    let settings = Page { path: "docs/SETTINGS.md".to_owned(), text: program::settings()? };
    let celerys = celery_settings_page(root, &settings.text)?;
    Ok(vec![settings, celerys, Page { path: "docs/COMMAND-LINE.md".to_owned(), text: program::command_line()? }])
}

/// The page of Celery's settings, from Apium's page of settings.
fn celery_settings_page(root: &Path, own: &str) -> Result<Page, String> {
    let list = "tests/interop/settings.json";
    let celerys = fs::read_to_string(root.join(list)).map_err(|e| format!("read {list}: {e}"))?;
    Ok(Page { path: "docs/CELERY-SETTINGS.md".to_owned(), text: celery_settings::page(own, &celerys)? })
}

/// The pages that need no program but this one. Those of the guide are written by hand, all but their code.
fn own_pages(files: &[File]) -> Result<Vec<Page>, String> {
    let mut pages =
        vec![coverage_page(files)?, Page { path: "docs/TASK-OPTIONS.md".to_owned(), text: options::page() }];
    let chapters = snippets::chapters(files)?;
    pages.extend(chapters.into_iter().map(|chapter| Page { path: chapter.path, text: chapter.text }));
    Ok(pages)
}

/// The coverage table, without the lines of the tests, which move with every change.
fn coverage_page(files: &[File]) -> Result<Page, String> {
    let rows = guide_rows(files)?;
    let table = coverage::table(&coverage::join(&rows, &tests(files)), false);
    let coverage = format!(
        "# Which tests show each row of the task guide\n\nMade by `cargo xtask docs` from `docs/guide-rows.toml` and the names \
         of the tests. That command also prints the line of each test.\n\n{table}"
    );
    Ok(Page { path: "docs/COVERAGE.md".to_owned(), text: coverage })
}

/// Rows without a test, and tests without a row.
fn gaps(files: &[File]) -> Result<Vec<String>, String> {
    let rows = guide_rows(files)?;
    let tests = tests(files);
    let mut gaps: Vec<String> = coverage::join(&rows, &tests).iter().filter_map(Covered::gap).collect();
    gaps.extend(coverage::without_row(&rows, &tests));
    Ok(gaps)
}

/// Pages that differ from what would be generated now.
fn stale(root: &Path, pages: &[Page]) -> Vec<String> {
    let old = pages.iter().filter(|page| fs::read_to_string(root.join(&page.path)).ok().as_ref() != Some(&page.text));
    old.map(|page| format!("{} is out of date: run `cargo xtask docs`", page.path)).collect()
}

fn guide_rows(files: &[File]) -> Result<Vec<guide::Row>, String> {
    let file = files.iter().find(|file| file.path == "docs/guide-rows.toml").ok_or("find docs/guide-rows.toml")?;
    guide::rows(&file.text)
}

fn tests(files: &[File]) -> Vec<coverage::GuideTest> {
    // The tests of this crate contain such names as examples, but only in texts, which are not read.
    let sources: Vec<Source> = files.iter().filter(|file| file.has_ending("rs")).map(Source::new).collect();
    coverage::tests(&sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_95_rows() {
        let files = files::all(&process::root().unwrap()).unwrap();
        let numbers: Vec<String> = guide_rows(&files).unwrap().into_iter().map(|row| row.number).collect();
        let expected: Vec<String> = (1..=95).map(|n| format!("0.{n:02}")).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn every_row_is_shown_and_the_pages_are_up_to_date() {
        let root = process::root().unwrap();
        let files = files::all(&root).unwrap();
        let mut wrong = gaps(&files).unwrap();
        wrong.extend(stale(&root, &own_pages(&files).unwrap()));
        let settings = fs::read_to_string(root.join("docs/SETTINGS.md")).unwrap();
        wrong.extend(stale(&root, &[celery_settings_page(&root, &settings).unwrap()]));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_page_that_differs_is_stale() {
        let page = |text: &str| Page { path: "Cargo.toml".to_owned(), text: text.to_owned() };
        let root = process::root().unwrap();
        let now = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        assert!(stale(&root, &[page(&now)]).is_empty());
        assert_eq!(stale(&root, &[page("old")]).len(), 1);
    }
}
