//! The generated pages under `docs/` are what the program prints (`cargo xtask docs` makes them), and their code runs.

use std::process::Command;

fn printed(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_apium")).args(args).env_remove("COLUMNS").output().unwrap();
    assert!(out.status.success(), "apium {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The text without blanks at the ends of lines.
fn trimmed(text: &str) -> String {
    text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_of_the_settings_is_what_the_program_prints() {
    let page = include_str!("../../../../docs/SETTINGS.md");
    assert_eq!(page.trim_end(), printed(&["settings"]).trim_end(), "run `cargo xtask docs`");
}

#[test]
fn the_page_of_the_command_line_has_the_help_of_every_command() {
    let page = include_str!("../../../../docs/COMMAND-LINE.md");
    let whole = printed(&["--help"]);
    assert!(page.contains(&trimmed(&whole)), "the help as a whole differs: run `cargo xtask docs`");
    let list = whole.split_once("\nCommands:\n").expect("the help lists the commands").1;
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    for name in names.chain(["worker", "registered"]).filter(|name| *name != "help") {
        let help = printed(&[name, "--help"]);
        let own = help.split("\nGlobal options:").next().unwrap_or_default();
        assert!(page.contains(&trimmed(own)), "the help of {name} differs: run `cargo xtask docs`");
    }
}

#[test]
fn the_code_of_the_page_about_canvas_is_that_of_its_example() {
    let page = include_str!("../../../../docs/CANVAS.md");
    let example = include_str!("../../examples/guide_canvas.rs");
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(blocks.len() > 9, "{blocks:#?}");
    for block in blocks {
        // Checks, and the calls that run the tasks, may be left out, so the lines need not follow each other directly.
        let mut lines = example.lines().map(str::trim);
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(lines.any(|other| other == line), "guide_canvas.rs has no line {line:?} after the lines before it");
        }
    }
}
