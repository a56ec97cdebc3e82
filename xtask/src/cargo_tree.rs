//! The crates that a program is made of, as `cargo tree` tells.

use std::collections::BTreeSet;

use crate::process;

/// The crates of a package with these features and without its default ones, a line each. A crate that several others
/// use has a line for each of them.
pub(crate) fn read(package: &str, features: &str) -> Result<String, String> {
    let mut tree = process::cargo(&["tree", "--package", package, "--no-default-features", "--features", features])?;
    tree.args(["--edges", "normal", "--prefix", "none"]);
    process::read(tree)
}

/// Each crate of a tree once.
pub(crate) fn crates(tree: &str) -> BTreeSet<&str> {
    tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect()
}
