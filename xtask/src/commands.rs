//! The list of commands: `cargo xtask help` prints it, and documents name only commands of it. `main.rs` runs them.

/// The outcome of a command: whether all checks passed, or what could not be done.
pub(crate) type Answer = Result<bool, String>;

/// One command.
pub(crate) struct Command {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its arguments, for the help.
    usage: &'static str,
    /// What it does, in one line.
    about: &'static str,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command { name: "test", usage: "[ARGS OF CARGO TEST]", about: "run every test and print the total" },
    Command { name: "ci", usage: "", about: "run format, clippy, docs, features and every test, like .ci/run" },
    Command {
        name: "peers",
        usage: "",
        about: "install what the tests need: redis-server, openssl, Python with Celery",
    },
    Command { name: "interop", usage: "[--full]", about: "run the tests with real Celery; --full: every workflow" },
    Command {
        name: "celery-suite",
        usage: "[--full] [NAME]",
        about: "run Celery's own integration tests with a worker of Apium; --full: all of them",
    },
    Command { name: "tidy", usage: "", about: "check the rules of structure, names and text" },
    Command { name: "features", usage: "", about: "check the facade with each feature alone, none and all" },
    Command { name: "docs", usage: "[--check]", about: "print the coverage table and write the generated pages" },
    Command {
        name: "bench",
        usage: "[NAME] [--runs N] [--full]",
        about: "run benchmarks and write their pages under docs/; `scaling` has its largest sizes with --full",
    },
    Command {
        name: "torture",
        usage: "memory|sqlite|redis|amqp|canvas [--full] [NAME …]",
        about: "run fault tests, of Celery too; --full and names of tests for all but canvas",
    },
    Command {
        name: "fuzz",
        usage: "[TIME] [FIRST ROUND]",
        about: "read captures of real Celery that are changed at random, for 60m or another time",
    },
    Command {
        name: "release",
        usage: "[STEP …]",
        about: "what a release needs beyond `ci`: docs, deny, publish, oldest, lowest, sizes",
    },
    Command { name: "help", usage: "", about: "print this list" },
];

/// The help.
pub(crate) fn help() -> Vec<String> {
    let lines =
        COMMANDS.iter().map(|command| format!("  {:<12} {:<22} {}", command.name, command.usage, command.about));
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
