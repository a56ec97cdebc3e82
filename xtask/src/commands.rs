//! The list of commands: what `cargo xtask help` prints and what documents may name. `main.rs` runs them.

/// What a command answers: whether all was well, or what could not be done.
pub(crate) type Answer = Result<bool, String>;

/// One command.
pub(crate) struct Command {
    /// Its word on the command line.
    pub(crate) name: &'static str,
    /// Its arguments, for the help.
    usage: &'static str,
    /// What it does, in one line.
    about: &'static str,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command { name: "test", usage: "[ARGS OF CARGO TEST]", about: "run every test and total them" },
    Command { name: "ci", usage: "", about: "format, clippy, docs and every test: what .ci/run does" },
    Command { name: "peers", usage: "", about: "install what the tests talk to: redis-server, Python with Celery" },
    Command { name: "interop", usage: "[--full]", about: "run the tests with real Celery; --full for every flow" },
    Command { name: "tidy", usage: "", about: "check the rules of layout, floors and names" },
    Command { name: "docs", usage: "[--check]", about: "print the coverage table and write the generated pages" },
    Command { name: "bench", usage: "[NAME] [--runs N]", about: "measure, and write the tables under docs/" },
    Command {
        name: "torture",
        usage: "sqlite|redis|canvas",
        about: "break what must hold, beside Celery where it can; sqlite and redis also with --full",
    },
    Command { name: "help", usage: "", about: "this list" },
];

/// The help.
pub(crate) fn help() -> Vec<String> {
    let lines = COMMANDS.iter().map(|command| format!("  {:<9} {:<22} {}", command.name, command.usage, command.about));
    ["Apium's own commands: cargo xtask <command>".to_owned(), String::new()].into_iter().chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_command() {
        let help = help().join("\n");
        assert!(COMMANDS.iter().all(|command| help.contains(&format!("\n  {} ", command.name))), "{help}");
    }
}
