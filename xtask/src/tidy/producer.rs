//! The crates of a program that only calls tasks: everybody who sends messages to a fleet builds them, so there are
//! few.

use crate::cargo_tree;
use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;

/// The crates of the facade without its default features and with the feature of Redis.
pub(crate) fn tree() -> Result<String, String> {
    cargo_tree::read("apium", "redis")
}

/// Holds the number of crates against the limit.
pub(crate) fn check(layers: &Layers, tree: &str) -> Option<Finding> {
    let crates = cargo_tree::crates(tree);
    (crates.len() > layers.producer).then(|| {
        let text = format!(
            "a producer for Redis builds {} crates; {} are the most: make what is new a feature, or do without",
            crates.len(),
            layers.producer
        );
        Finding::of("crates/apium/Cargo.toml", text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_counts_once() {
        let layers = Layers::of_test("");
        assert!(check(&layers, "a v1\nb v2 (proc-macro)\nb v2 (proc-macro) (*)\na v1 (*)\n\n").is_none());
        let text = check(&layers, "a v1\nb v2\na v2\n").unwrap().text;
        assert!(text.contains("3 crates; 2 are the most"), "{text}");
    }
}
