//! Floors: who may use whom among the crates of the workspace.

use serde_json::Value;

use crate::tidy::finding::Finding;
use crate::tidy::layers::Layers;

/// A crate of the workspace with what it uses.
#[derive(Debug, Default, Clone)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What its code uses (also in build scripts).
    pub(crate) uses: Vec<String>,
    /// What only its tests and examples use.
    pub(crate) tests_use: Vec<String>,
}

/// Reads the output of `cargo metadata --no-deps`.
pub(crate) fn packages(metadata: &str) -> Result<Vec<Package>, String> {
    let metadata: Value = serde_json::from_str(metadata).map_err(|e| format!("read cargo's metadata: {e}"))?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata, "packages").into_iter().map(|package| {
        let (tests, code): (Vec<Value>, Vec<Value>) =
            list(&package, "dependencies").into_iter().partition(|dependency| dependency["kind"] == "dev");
        let names = |dependencies: &[Value]| dependencies.iter().map(|dependency| text(dependency, "name")).collect();
        Package { name: text(&package, "name"), uses: names(&code), tests_use: names(&tests) }
    });
    Ok(packages.collect())
}

/// Holds the dependencies of every crate against the floors.
pub(crate) fn check(layers: &Layers, packages: &[Package]) -> Vec<Finding> {
    let ours = |name: &String| packages.iter().any(|package| package.name == *name);
    let mut findings = Vec::new();
    for package in packages {
        let known = layers.floors.contains_key(&package.name) || layers.beside.contains_key(&package.name);
        if !known {
            findings.push(Finding::of(&package.name, "layers.toml gives this crate no floor"));
            continue;
        }
        for used in package.uses.iter().filter(|name| ours(name)) {
            findings.extend(breach(layers, &package.name, used, false));
        }
        for used in package.tests_use.iter().filter(|name| ours(name)) {
            findings.extend(breach(layers, &package.name, used, true));
        }
    }
    let listed = layers.floors.keys().chain(layers.beside.keys());
    let gone = listed.filter(|name| !ours(name));
    findings.extend(gone.map(|name| Finding::of("layers.toml", format!("there is no crate {name}"))));
    findings
}

fn breach(layers: &Layers, user: &str, used: &str, in_tests: bool) -> Option<Finding> {
    // A crate's tests may turn on features of its own.
    if user == used {
        return None;
    }
    if let Some(beside) = layers.beside.get(user) {
        let allowed = beside.uses.as_ref().is_none_or(|uses| uses.iter().any(|name| name == used));
        return (!allowed && !in_tests)
            .then(|| Finding::of(user, format!("must not use {used} (layers.toml, beside)")));
    }
    if let Some(beside) = layers.beside.get(used) {
        let allowed = beside.by.iter().any(|name| name == user);
        return (!allowed).then(|| Finding::of(user, format!("must not use {used}, which is beside the house")));
    }
    let (floor, below) = (layers.floors.get(user)?, layers.floors.get(used)?);
    let allowed = below < floor || (in_tests && below == floor);
    let what = if below == floor { "a sibling" } else { "a floor above" };
    (!allowed).then(|| Finding::of(user, format!("floor {floor} must not use {used} on floor {below}: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str], tests_use: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Package { name: name.to_owned(), uses: owned(uses), tests_use: owned(tests_use) }
    }

    fn findings(packages: &[Package]) -> Vec<String> {
        let layers = Layers::of_test(
            "[floors]\nground = 0\nleft = 1\nright = 1\n[beside]\nmacros = { uses = [], by = [\"left\"] }\n",
        );
        let mut all = vec![package("ground", &[], &[]), package("macros", &[], &[])];
        all.extend(
            ["left", "right"].iter().filter(|n| packages.iter().all(|p| p.name != **n)).map(|n| package(n, &[], &[])),
        );
        all.retain(|p| packages.iter().all(|q| q.name != p.name));
        all.extend_from_slice(packages);
        check(&layers, &all).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn downwards_is_allowed() {
        assert!(findings(&[package("left", &["ground", "serde", "macros"], &["left"])]).is_empty());
    }

    #[test]
    fn upwards_and_sideways_are_not() {
        assert!(findings(&[package("ground", &["left"], &[])])[0].contains("a floor above"));
        assert!(findings(&[package("left", &["right"], &[])])[0].contains("a sibling"));
    }

    #[test]
    fn tests_may_use_a_sibling_but_no_floor_above() {
        assert!(findings(&[package("left", &[], &["right"])]).is_empty());
        assert_eq!(findings(&[package("ground", &[], &["left"])]).len(), 1);
    }

    #[test]
    fn what_is_beside_is_used_by_those_named_only() {
        assert_eq!(findings(&[package("right", &["macros"], &[])]).len(), 1);
        assert_eq!(findings(&[package("macros", &["ground"], &[])]).len(), 1);
    }

    #[test]
    fn every_crate_has_a_floor() {
        assert_eq!(findings(&[package("new", &[], &[])]), ["layers.toml gives this crate no floor"]);
    }

    #[test]
    fn metadata_is_read() {
        let read = packages(
            r#"{"packages":[{"name":"a","dependencies":[{"name":"b","kind":null},{"name":"c","kind":"dev"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            (read[0].name.as_str(), &read[0].uses[..], &read[0].tests_use[..]),
            ("a", &["b".to_owned()][..], &["c".to_owned()][..])
        );
    }
}
