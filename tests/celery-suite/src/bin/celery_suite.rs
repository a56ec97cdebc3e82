//! Celery's own integration tests, with Celery's worker, with a worker of Apium, and with both on one queue.
//!
//! ```text
//! celery_suite              a part of the tests
//! celery_suite --full       all of them
//! celery_suite --full NAME  those whose name contains this word, such as test_canvas or chord
//! celery_suite --python …   beside Celery's only these columns: --rust, --both, --python
//! ```
//!
//! It prints a table of what passes with whom, and which differences have a reason (`exceptions.toml`). It fails when
//! another test fails with Apium than with Celery, and when an exception is no longer needed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people prints its table")]

use std::process::ExitCode;

use apium_celery_suite::exceptions::Exceptions;
use apium_celery_suite::install::Suite;
use apium_celery_suite::run::{Selection, Workers, run};
use apium_celery_suite::table::Table;

fn main() -> ExitCode {
    let (options, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    match suite(&options, names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the tests, prints the table, and returns whether all is as it should be.
fn suite(options: &[String], names: Vec<String>) -> Result<bool, String> {
    let option = |workers: Workers| format!("--{workers:?}").to_lowercase();
    let is_known =
        |given: &&String| *given == "--full" || Workers::ALL.iter().any(|workers| option(*workers) == **given);
    if let Some(unknown) = options.iter().find(|given| !is_known(given)) {
        return Err(format!("read the arguments: there is no option {unknown}"));
    }
    let full = options.iter().any(|given| given == "--full");
    let chosen = |workers: &Workers| *workers == Workers::Celery || options.contains(&option(*workers));
    let are_chosen = options.iter().any(|given| given != "--full");
    let program = std::env::current_exe().map_err(|error| format!("find the running program: {error}"))?;
    let worker = program.with_file_name("celery_suite_worker").with_extension(std::env::consts::EXE_EXTENSION);
    let (exceptions, suite) = (Exceptions::read()?, Suite::ensure()?);
    let selection = if full { Selection::all(&suite)? } else { Selection::part() }.only(names);
    let mut columns = Vec::new();
    for workers in Workers::ALL.into_iter().filter(|workers| !are_chosen || chosen(workers)) {
        println!("==> {}", workers.title());
        let outcomes = run(&suite, &worker, workers, &selection, &mut |line| println!("{line}"))?;
        columns.push((workers, outcomes));
    }
    let table = Table::new(&columns, &exceptions);
    println!("\n{table}");
    Ok(table.is_good())
}
