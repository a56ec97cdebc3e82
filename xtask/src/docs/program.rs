//! Pages that the program `apium` prints: its settings and its command line.

use crate::process;

/// The page of the settings, from their table.
pub(crate) fn settings() -> Result<String, String> {
    Ok(format!("{}\n", apium(&["settings"])?.trim_end()))
}

/// The page of the command line: the help of each command.
pub(crate) fn command_line() -> Result<String, String> {
    let mut page = String::from(
        "# The command line\n\nMade by `cargo xtask docs` from the help of the program. Your own program that calls \
         `apium::cli::main(app)` has all of these commands under its own name, and `apium::cli::main_with_commands(app, run)` \
         adds commands of its own to them. The stand-alone `apium` has all but \
         `registered`, which needs task code; its `worker` runs the tasks of a Celery app (`-A`).\n",
    );
    let whole = apium(&["--help"])?;
    page.push_str(&section("apium", &whole));
    // The help of the stand-alone program does not list what needs the code of tasks.
    let mut commands = subcommands(&whole);
    commands.insert(1, "registered".to_owned());
    for command in &commands {
        let help = apium(&[command, "--help"])?;
        page.push_str(&section(&format!("apium {command}"), own_part(&help)));
        for inner in subcommands(&help) {
            let help = apium(&[command, &inner, "--help"])?;
            page.push_str(&section(&format!("apium {command} {inner}"), own_part(&help)));
        }
    }
    Ok(page)
}

fn apium(args: &[&str]) -> Result<String, String> {
    let mut command =
        process::cargo(&["run", "--quiet", "--package", "apium", "--features", "full", "--bin", "apium", "--"])?;
    // The page must not depend on the width of the terminal.
    command.args(args).env_remove("COLUMNS");
    process::read(command)
}

/// The help without the options that every command has; they are under the first heading.
fn own_part(help: &str) -> &str {
    help.split("\nGlobal options:").next().unwrap_or(help)
}

fn section(title: &str, help: &str) -> String {
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n"))
}

/// The names under `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str =
        "About\n\nCommands:\n  list  List\n  show  Show\n  help  Help\n\nOptions:\n  -x  \n\nGlobal options:\n  -b\n";

    #[test]
    fn the_commands_are_read_from_the_help() {
        assert_eq!(subcommands(HELP), ["list", "show"]);
        assert!(subcommands("Usage: x\n").is_empty());
    }

    #[test]
    fn a_section_has_the_commands_own_part() {
        let section = section("apium x", own_part(HELP));
        assert!(section.ends_with("Options:\n  -x\n```\n"), "{section}");
    }
}
