//! Celery's own integration tests, with Celery's worker, with a worker of Apium, and with both on one queue.
//!
//! ```text
//! celery_suite              a part of the tests
//! celery_suite --full       all of them
//! celery_suite --full NAME  those whose name contains this word, such as test_canvas or chord
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
    let args: Vec<String> = std::env::args().skip(1).collect();
    let full = args.iter().any(|arg| arg == "--full");
    let names: Vec<String> = args.into_iter().filter(|arg| arg != "--full").collect();
    match suite(full, names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the tests, prints the table, and returns whether all is as it should be.
fn suite(full: bool, names: Vec<String>) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| format!("find the running program: {error}"))?;
    let worker = program.with_file_name("celery_suite_worker").with_extension(std::env::consts::EXE_EXTENSION);
    let (exceptions, suite) = (Exceptions::read()?, Suite::ensure()?);
    let selection = if full { Selection::all(&suite)? } else { Selection::part() }.only(names);
    let mut columns = Vec::new();
    for workers in Workers::ALL {
        println!("==> {}", workers.title());
        let outcomes = run(&suite, &worker, workers, &selection, &mut |line| println!("{line}"))?;
        columns.push((workers, outcomes));
    }
    let table = Table::new(&columns, &exceptions);
    println!("\n{table}");
    Ok(table.is_good())
}
