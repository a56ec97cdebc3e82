//! `cargo xtask release`: what a release needs beyond `.ci/run`, and what needs another compiler, a tool or minutes.
//!
//! It changes nothing in the repository. What it builds stands in `target/release-checks`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::commands::Answer;
use crate::{cargo_tree, output, process};

/// One thing that a release needs.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Place) -> Answer,
}

/// Every step, the quickest first.
const STEPS: &[Step] = &[
    Step { name: "docs", about: "the docs of the facade with every feature", run: docs },
    Step { name: "deny", about: "advisories, licences, duplicates and sources of all dependencies", run: deny },
    Step { name: "publish", about: "every crate is packed, and compiles as it was packed", run: publish },
    Step { name: "oldest", about: "the facade compiles with the oldest Rust that it promises", run: oldest },
    Step {
        name: "lowest",
        about: "the facade compiles with the lowest versions that its manifests allow",
        run: lowest,
    },
    Step { name: "sizes", about: "how large a program becomes, by its features", run: sizes },
];

/// Where the steps work.
struct Place {
    root: PathBuf,
    /// For what they build.
    target: PathBuf,
}

/// Runs the steps that are named, or all. One that fails does not keep the others from running.
pub(crate) fn run(args: &[String]) -> Answer {
    let chosen: Vec<&Step> = match args {
        [] => STEPS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
    };
    let root = process::root()?;
    let place = Place { target: root.join("target/release-checks"), root };
    let mut failed = Vec::new();
    for step in &chosen {
        output::step(&format!("{}: {}", step.name, step.about));
        match (step.run)(&place) {
            Ok(true) => {}
            Ok(false) => failed.push(step.name.to_owned()),
            Err(error) => failed.push(format!("{} (could not {error})", step.name)),
        }
    }
    output::line(&format!("release: {} of {} hold", chosen.len() - failed.len(), chosen.len()));
    failed.iter().for_each(|name| output::line(&format!("failed: {name}")));
    Ok(failed.is_empty())
}

fn find(name: &str) -> Result<&'static Step, String> {
    let names = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    STEPS.iter().find(|step| step.name == name).ok_or_else(|| format!("find the step {name:?}: there are {}", names()))
}

fn docs(_: &Place) -> Answer {
    let mut command = process::cargo(&["doc", "--package", "apium", "--all-features", "--no-deps"])?;
    command.env("RUSTDOCFLAGS", "-D warnings");
    process::passes(command)
}

/// Advisories need the network, and are asked for by themselves: without it the others are still known.
fn deny(place: &Place) -> Answer {
    let tools = place.target.join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        let mut install = process::cargo(&["install", "--quiet", "--locked", "cargo-deny", "--root"])?;
        install.arg(&tools);
        if !process::passes(install)? {
            return Ok(false);
        }
    }
    let mut good = true;
    for checks in [&["licenses", "bans", "sources"][..], &["advisories"]] {
        let mut command = Command::new(&program);
        command.current_dir(&place.root).arg("check").args(checks);
        good &= process::passes(command)?;
    }
    Ok(good)
}

/// In the order of their floors, each built from what the ones before it were packed as.
fn publish(place: &Place) -> Answer {
    let mut command = process::cargo(&["publish", "--workspace", "--dry-run", "--allow-dirty", "--target-dir"])?;
    command.arg(place.target.join("publish"));
    process::passes(command)
}

fn oldest(place: &Place) -> Answer {
    let path = place.root.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.ok_or("find rust-version in Cargo.toml")?.trim_matches('"');
    let asked = toolchain(version).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !asked.is_ok_and(|status| status.success()) {
        return Err(format!("use Rust {version}: `rustup toolchain install {version} --profile minimal` brings it"));
    }
    let mut check = toolchain(version);
    check.args(["check", "--package", "apium", "--all-features", "--target-dir"]).arg(place.target.join("oldest"));
    check.current_dir(&place.root);
    process::passes(check)
}

/// Resolving to the lowest versions needs a nightly cargo. The compiler is the usual one. Both work on a copy, since
/// the lock file changes.
fn lowest(place: &Place) -> Answer {
    let copy = place.target.join("lowest/source");
    let failed = |error: std::io::Error| format!("copy the sources to {}: {error}", copy.display());
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(failed)?;
    }
    let mut list = Command::new("git");
    list.current_dir(&place.root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = list.output().map_err(|error| format!("list the sources with git: {error}"))?;
    for path in String::from_utf8_lossy(&listed.stdout).lines().filter(|path| *path != "Cargo.lock") {
        let (from, to) = (place.root.join(path), copy.join(path));
        fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(failed)?;
        // A file that is deleted and not committed yet is listed too.
        if from.is_file() {
            fs::copy(&from, &to).map_err(failed)?;
        }
    }
    let mut resolve = toolchain("nightly");
    resolve.args(["generate-lockfile", "-Z", "direct-minimal-versions"]).current_dir(&copy);
    if !process::passes(resolve)? {
        return Err(
            "resolve the lowest versions (`rustup toolchain install nightly --profile minimal` brings the cargo \
                    that can)"
                .to_owned(),
        );
    }
    let mut check = process::cargo(&["check", "--locked", "--package", "apium", "--all-features", "--target-dir"])?;
    check.arg(place.target.join("lowest/target")).current_dir(&copy);
    process::passes(check)
}

/// Programs by the features of the package `apium-sizes`.
const PROGRAMS: [(&str, &str); 5] = [
    ("a caller, through Redis", "redis"),
    ("a worker on SQLite", "sqlite,worker"),
    ("a worker on Redis", "redis,worker"),
    ("a worker with its command line, on both: the default features", "redis,sqlite,cli"),
    ("the same with every feature", "full"),
];

/// Without symbols, as one would ship them.
fn sizes(place: &Place) -> Answer {
    let target = place.target.join("sizes");
    let mut rows = vec!["| program | crates | size |".to_owned(), "|---|---|---|".to_owned()];
    for (program, features) in PROGRAMS {
        let mut build =
            process::optimised(&["build", "--release", "--package", "apium-sizes", "--features", features])?;
        build.arg("--target-dir").arg(&target).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        if !process::passes(build)? {
            return Ok(false);
        }
        let file = target.join("release/sizes");
        let size = fs::metadata(&file).map_err(|error| format!("read the size of {}: {error}", file.display()))?.len();
        let tree = cargo_tree::read("apium-sizes", features)?;
        // Without the program itself.
        let crates = cargo_tree::crates(&tree).len() - 1;
        rows.push(format!("| {program} | {crates} | {}.{} MB |", size / 1_000_000, size / 100_000 % 10));
    }
    rows.iter().for_each(|row| output::line(row));
    Ok(true)
}

/// The cargo of another toolchain. The variables of the one that runs this program must not reach it.
fn toolchain(name: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", name, "cargo"]);
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTDOC"] {
        command.env_remove(variable);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_name_and_an_unknown_one_is_refused() {
        assert!(STEPS.iter().all(|step| find(step.name).is_ok()));
        assert!(find("nothing").err().is_some_and(|error| error.contains("oldest")));
    }
}
