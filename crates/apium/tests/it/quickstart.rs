//! The quickstart: run to its end, and stopped half-way by kill -9 or ctrl-c and resumed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use apium_peers::target::example;

use crate::program::{Running, Sandbox, Stream};

/// How many files the tests index.
const FILES: usize = 24;

/// A folder of files with known words: file `n` has the word "apple" `n + 1` times, and the other words once or twice.
fn text(sandbox: &Sandbox) -> std::path::PathBuf {
    let folder = sandbox.path().join("text");
    fs::create_dir_all(folder.join("deep")).unwrap();
    for n in 0..FILES {
        let line = "Apple ".repeat(n + 1) + "pear, PEAR; (plum)\n";
        let name = if n % 2 == 0 { format!("{n}.md") } else { format!("deep/{n}.txt") };
        fs::write(folder.join(name), line + &"\n".repeat(120)).unwrap();
    }
    folder
}

fn start(sandbox: &Sandbox, text: &Path, pace: &str) -> Running {
    let args = [text.to_str().unwrap(), "--data", "data", "--pace", pace];
    Running::start(sandbox.command(&example("quickstart"), &args), Stream::Out)
}

/// The lines of the summary: the words and the states.
fn totals(lines: &[String]) -> Vec<String> {
    let from = lines.iter().position(|line| line.contains("different ones")).unwrap_or_else(|| panic!("{lines:#?}"));
    lines[from..].iter().filter(|line| !line.contains("stored in")).cloned().collect()
}

/// How often the task that adds up has succeeded.
fn added_up(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("SUCCESS") && line.contains("add_up")).count()
}

/// The totals that the text must have.
fn assert_totals(lines: &[String]) {
    let totals = totals(lines).join("\n");
    let apples = FILES * (FILES + 1) / 2;
    for part in [
        format!("{} words, 3 different ones", apples + 3 * FILES),
        format!("{apples:>8}  apple"),
        format!("{:>8}  pear", 2 * FILES),
        format!("{FILES:>8}  plum"),
        "SUCCESS        27".to_owned(),
        "FAILURE         1".to_owned(),
        "REVOKED         1".to_owned(),
    ] {
        assert!(totals.contains(&part), "{part:?} is missing in:\n{}", lines.join("\n"));
    }
    assert_eq!(added_up(lines), 1, "{lines:#?}");
}

#[test]
fn it_indexes_files_and_shows_every_state() {
    let sandbox = Sandbox::new();
    let (code, lines) = start(&sandbox, &text(&sandbox), "5").end();
    assert_eq!(code, 0, "{lines:#?}");
    assert_totals(&lines);
    let states: BTreeSet<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
    for state in ["PROGRESS", "SUCCESS", "RETRY", "FAILURE", "REVOKED"] {
        assert!(states.contains(state), "{state} is missing in {lines:#?}");
    }
    let has = |parts: [&str; 3]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(["RETRY", "retried", "busy"]), "{lines:#?}");
    assert!(has(["FAILURE", "fails", "invalid digit"]), "{lines:#?}");
    assert!(has(["REVOKED", "too_late", "expired"]), "{lines:#?}");
    assert!(has(["SUCCESS", "later", "its eta"]), "{lines:#?}");
}

#[test]
fn a_file_that_is_deleted_meanwhile_has_no_words() {
    let sandbox = Sandbox::new();
    let folder = text(&sandbox);
    let mut running = start(&sandbox, &folder, "60");
    running.wait_for("STARTED");
    // The last file, which has no slot yet.
    fs::remove_file(folder.join("deep/9.txt")).unwrap();
    let (code, lines) = running.end();
    assert_eq!(code, 0, "{lines:#?}");
    let words = FILES * (FILES + 1) / 2 + 3 * FILES - 13;
    assert!(totals(&lines)[0].starts_with(&format!("{words} words, 3 different ones")), "{lines:#?}");
}

#[test]
fn killed_half_way_it_resumes_and_ends_with_the_same_totals() {
    let sandbox = Sandbox::new();
    let folder = text(&sandbox);
    let mut first = start(&sandbox, &folder, "60");
    first.wait_for("half-way");
    let before = first.kill();
    assert_eq!(added_up(&before), 0, "it had ended: {before:#?}");

    let (code, lines) = start(&sandbox, &folder, "60").end();
    assert_eq!(code, 0, "{lines:#?}");
    let resumed = lines.iter().find(|line| line.starts_with("resuming run")).unwrap_or_else(|| panic!("{lines:#?}"));
    let counted: usize = resumed.split(": ").nth(1).and_then(|text| text.split(' ').next()).unwrap().parse().unwrap();
    assert!((FILES / 2..FILES).contains(&counted), "{resumed}");
    assert_totals(&lines);

    // Files that were counted before are not counted again.
    let is_file = |line: &&String| line.starts_with("STARTED") && (line.contains(".md") || line.contains(".txt"));
    let run_again: BTreeSet<&String> = lines.iter().filter(is_file).collect();
    assert!(run_again.len() <= FILES - counted, "{lines:#?}");
}

#[test]
fn stopped_by_ctrl_c_it_resumes_and_a_finished_run_starts_a_new_one() {
    let sandbox = Sandbox::new();
    let folder = text(&sandbox);
    let mut first = start(&sandbox, &folder, "60");
    first.wait_for("half-way");
    let (code, lines) = first.stop("INT");
    assert_eq!(code, 130, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("start the quickstart again")), "{lines:#?}");

    let (code, lines) = start(&sandbox, &folder, "1").end();
    assert_eq!(code, 0, "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("resuming run")), "{lines:#?}");
    assert_totals(&lines);

    let (code, lines) = start(&sandbox, &folder, "1").end();
    assert_eq!(code, 0);
    assert!(lines[0].starts_with("run ") && !lines.iter().any(|line| line.starts_with("resuming")), "{lines:#?}");
    assert_totals(&lines);
}

#[test]
fn its_data_is_in_the_data_folder_of_the_platform() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("small");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.txt"), "one two two").unwrap();
    let mut command = sandbox.command(&example("quickstart"), &[folder.to_str().unwrap(), "--pace", "0"]);
    command.env("XDG_DATA_HOME", sandbox.path().join("data-home")).env("HOME", sandbox.path());
    command.env("LOCALAPPDATA", sandbox.path().join("data-home"));
    let output = crate::program::run(command).with_code(0);
    assert!(output.out.contains("3 words, 2 different ones"), "{output:?}");
    let data = if cfg!(target_os = "macos") { "Library/Application Support" } else { "data-home" };
    assert!(sandbox.path().join(data).join("apium-quickstart/run.json").is_file());
}

#[test]
fn a_second_quickstart_on_the_same_data_is_refused() {
    let sandbox = Sandbox::new();
    let folder = text(&sandbox);
    let mut first = start(&sandbox, &folder, "60");
    first.wait_for("STARTED");
    let args = [folder.to_str().unwrap(), "--data", "data"];
    let second = crate::program::run(sandbox.command(&example("quickstart"), &args)).with_code(1);
    assert!(second.err.contains("another quickstart runs in"), "{second:?}");
    first.kill();
}
