//! The project's own commands, run as `cargo xtask <command>` (the alias is in `.cargo/config.toml`).
//!
//! One file or folder a command. `commands.rs` lists them, and only `output.rs` prints.

use std::process::ExitCode;

use crate::commands::Answer;

mod bench;
mod cargo_tree;
mod celery_suite;
mod ci;
mod commands;
mod docs;
mod features;
mod files;
mod fuzz;
mod interop;
mod libtest;
mod output;
mod peers;
mod process;
mod release;
mod test;
mod tidy;
mod torture;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "help".to_owned());
    let args: Vec<String> = args.collect();
    let answer = match command(&name) {
        Some(run) => run(&args),
        None => Err(format!("find the command {name:?}: `cargo xtask help` lists them")),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

/// What runs the command called `name`.
fn command(name: &str) -> Option<fn(&[String]) -> Answer> {
    Some(match name {
        "test" => test::run,
        "ci" => ci::run,
        "tidy" => tidy::check::run,
        "peers" => peers::ready::run,
        "bench" => bench::campaign::run,
        "docs" => docs::pages::run,
        "features" => features::run,
        "interop" => interop::run,
        "celery-suite" => celery_suite::run,
        "fuzz" => fuzz::run,
        "release" => release::run,
        "torture" => torture::run::run,
        "help" | "-h" | "--help" => help,
        _ => return None,
    })
}

fn help(_args: &[String]) -> Answer {
    commands::help().iter().for_each(|line| output::line(line));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_command_is_run_and_no_other() {
        assert!(commands::COMMANDS.iter().all(|listed| command(listed.name).is_some()));
        assert!(command("tset").is_none());
    }
}
