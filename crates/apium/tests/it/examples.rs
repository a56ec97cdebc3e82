//! Every example runs and passes its own checks.

use std::fs;
use std::path::Path;

use apium_peers::target::example;

use crate::program::{Sandbox, run};

/// Runs an example without arguments, and returns its output.
fn output(name: &str) -> String {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&example(name), &[]);
    command.env("TMPDIR", sandbox.path()).env_remove("APIUM_BROKER_URL").env_remove("APIUM_RESULT_BACKEND");
    run(command).with_code(0).out
}

macro_rules! examples {
    ($($name:ident: $part:literal;)+) => {
        /// The examples that are run here.
        const RUN_HERE: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                let out = output(stringify!($name));
                assert!(out.contains($part), "{out}");
            }
        )+
    };
}

examples! {
    album: "20 photos is published";
    guide_calling: "5 + 5 = 10";
    guide_canvas: "Hamlet has 7 words";
    guide_class_task: "2 + 2 + 1 = 5";
    guide_defining: "hello you";
    guide_deploy: "the new worker: order 7 was charged before";
    guide_eta_expires: "expired";
    guide_first: "2 + 2 = 4";
    guide_groups: "[4, 8, 16, 32]";
    guide_hooks: "after_return FAILURE";
    guide_on_message: "SUCCESS";
    guide_options: "the search ended with SoftTimeLimitExceeded";
    guide_pools: "90";
    guide_request: "guide-1";
    guide_results: "20 of 20 imports are done";
    guide_retry: "over capacity";
    guide_routing: "acme goes to reports-acme";
    guide_states: "invalid digit";
    guide_testing: "one mail was sent";
    guide_web: "\"result\":\"small/bee.png\"";
    opentelemetry: "bill is in the trace of the request";
    walk: "complete";
}

#[test]
fn the_walk_passes_every_stop_in_order() {
    let out = output("walk");
    let stops: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let worker = ["process", "intake", "execute", "your", "decide", "follow", "settle", "complete"];
    let in_worker: Vec<&str> = stops.iter().copied().filter(|stop| worker.contains(stop)).collect();
    assert_eq!(in_worker, worker, "{out}");
    assert_eq!(stops[..2], ["call", "prepare"], "{out}");
    assert!(stops.contains(&"result"), "{out}");
}

#[test]
fn the_architecture_names_the_files_of_the_walk_in_order() {
    let page = include_str!("../../../../ARCHITECTURE.md");
    let out = output("walk");
    let files = out.lines().filter_map(|line| line.split_whitespace().find(|word| word.ends_with(".rs")));
    // The caller waits for its result while the worker runs, so that stop has no position in the order.
    let crates = files.filter(|file| !file.starts_with("apium/") && !file.ends_with("/get.rs"));
    let mut text = page;
    let mut seen = Vec::new();
    for file in crates.map(|file| format!("(crates/{file})")) {
        // The files of the walk are named more than once.
        if !seen.contains(&file) {
            let at = text.find(&file).unwrap_or_else(|| panic!("ARCHITECTURE.md has no {file} in the walk's order"));
            text = &text[at..];
            seen.push(file);
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
    assert!(page.contains("(crates/apium-app/src/result/get.rs)"));
}

#[test]
fn every_example_is_run_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let elsewhere = ["guide_producer", "interop", "own_commands", "processes", "quickstart"];
        assert!(RUN_HERE.contains(&&*name) || elsewhere.contains(&&*name), "no test runs the example {name}");
    }
}
