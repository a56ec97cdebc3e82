//! `cargo xtask features`: the facade compiles without warnings with each of its features alone, with none and with
//! all. So do the programs that are built with few of them, and the tests of one without `autodiscover` pass.
//!
//! Only the facade and what it is made of is looked at, by clippy, with the arguments of `cargo xtask ci`: what that
//! has compiled is not compiled again.

use std::fs;

use toml::{Table, Value};

use crate::commands::Answer;
use crate::process;

/// Features that are nothing but others together.
const SUMS: &[&str] = &["default", "full"];
/// The program that is built with a few features, and the one that is tested without `autodiscover`.
const PROGRAMS: [&str; 2] = ["quickstart", "apium-by-hand"];

/// Looks at every choice of features, also after one that fails.
pub(crate) fn run(_args: &[String]) -> Answer {
    let path = process::root()?.join("crates/apium/Cargo.toml");
    let manifest = fs::read_to_string(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let mut passed = true;
    for choice in choices(&manifest)? {
        passed &= clippy("apium", &choice)?;
    }
    for program in PROGRAMS {
        passed &= clippy(program, &[])?;
    }
    let by_hand = process::cargo(&["test", "--quiet", "--package", "apium-by-hand"])?;
    Ok(process::passes(by_hand)? && passed)
}

fn clippy(package: &str, features: &[String]) -> Result<bool, String> {
    let mut command = process::cargo(&["clippy", "--quiet", "--package", package])?;
    command.args(features).args(["--", "-D", "warnings"]);
    process::passes(command)
}

/// The arguments that choose no feature, each feature of a manifest alone, and all.
fn choices(manifest: &str) -> Result<Vec<Vec<String>>, String> {
    let manifest: Table = manifest.parse().map_err(|e| format!("read the manifest of the facade: {e}"))?;
    let features = manifest.get("features").and_then(Value::as_table).ok_or("find the features of the facade")?;
    let alone = features.keys().filter(|name| !SUMS.contains(&name.as_str()));
    let alone = alone.map(|name| vec!["--no-default-features".to_owned(), "--features".to_owned(), name.clone()]);
    let none = vec!["--no-default-features".to_owned()];
    let all = vec!["--all-features".to_owned()];
    Ok(std::iter::once(none).chain(alone).chain([all]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_chosen_alone_and_sums_are_not() {
        let choices = choices("[features]\ndefault = ['b']\nb = []\na = ['b']\nfull = ['a']\n").unwrap();
        let shown: Vec<String> = choices.iter().map(|choice| choice.join(" ")).collect();
        let none = "--no-default-features";
        let wanted = [none, &format!("{none} --features b"), &format!("{none} --features a"), "--all-features"];
        assert_eq!(shown, wanted);
        assert!(super::choices("[package]").is_err());
    }
}
