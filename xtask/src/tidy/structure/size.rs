//! Sizes: how many lines a file may have.

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;
use crate::tidy::source::rust::Source;

/// Holds the length of every source against the limit and the list of files that are over it.
pub(crate) fn check(layers: &Layers, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let lines = source.file().text.lines().count();
        let path = source.path();
        match layers.over.get(path) {
            None if lines > layers.limit => {
                findings
                    .push(Finding::of(path, format!("{lines} lines; {} are the most: split it by idea", layers.limit)));
            }
            Some(&listed) if lines > listed => {
                findings.push(Finding::of(
                    path,
                    format!("{lines} lines, it had {listed}: a file over the limit may only shrink"),
                ));
            }
            Some(&listed) if lines < listed => {
                let now =
                    if lines > layers.limit { format!("write {lines}") } else { "take it off the list".to_owned() };
                findings.push(Finding::of(
                    "layers.toml",
                    format!("{path} has shrunk from {listed} lines to {lines}: {now}"),
                ));
            }
            _ => {}
        }
    }
    let gone = layers.over.keys().filter(|path| sources.iter().all(|source| source.path() != path.as_str()));
    findings
        .extend(gone.map(|path| Finding::of("layers.toml", format!("[size.over] names {path}, which is not there"))));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::File;

    fn findings(lines: usize, over: &str) -> Vec<String> {
        let layers = Layers::of_test(&format!("[size.over]\n{over}"));
        let file = File { path: "a.rs".to_owned(), text: "x\n".repeat(lines) };
        check(&layers, &[Source::new(&file)]).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_file_over_the_limit_is_found() {
        assert!(findings(3, "").is_empty());
        assert_eq!(findings(4, "").len(), 1);
    }

    #[test]
    fn a_listed_file_may_only_shrink_and_the_list_with_it() {
        assert!(findings(5, "\"a.rs\" = 5").is_empty());
        assert!(findings(6, "\"a.rs\" = 5")[0].contains("may only shrink"));
        assert!(findings(4, "\"a.rs\" = 5")[0].ends_with("write 4"));
        assert!(findings(2, "\"a.rs\" = 5")[0].ends_with("take it off the list"));
        assert_eq!(findings(1, "\"b.rs\" = 5").len(), 1);
    }
}
