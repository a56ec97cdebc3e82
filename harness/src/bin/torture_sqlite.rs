//! The fault tests of the embedded driver: `torture_sqlite KILLS [NAME …]`. `kills` kills worker processes at random
//! instants, so many times, and checks that no task is lost; the others print a line for a guarantee of
//! `docs/PROMISES.md`.

use std::path::Path;
use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::torture::{clock_steps, full_disk, kills, suspended, tasks, user_code};

/// The tests.
const TESTS: [&str; 5] = ["kills", "full-disk", "clock-steps", "suspended", "user-code"];

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (kills, named) = match args.as_slice() {
        // How it starts itself as another process.
        ["worker", folder] => return kills::run_worker(Path::new(folder)).await.map(|()| ExitCode::SUCCESS),
        ["steady-worker", rest @ ..] => return tasks::role(rest).await.map(|()| ExitCode::SUCCESS),
        [kills, named @ ..] => (kills.parse::<usize>()?, named),
        [] => return Err("read the arguments: give the number of kills, and names such as full-disk".into()),
    };
    // About as much time for each test.
    let rounds = (kills as u64 / 20).max(2);
    let mut kept = true;
    for test in if named.is_empty() { &TESTS[..] } else { named } {
        let row = match *test {
            "kills" => {
                let verdict = kills::torture(kills).await?;
                verdict.print();
                kept &= verdict.is_good();
                continue;
            }
            "full-disk" => full_disk::check(rounds).await,
            "clock-steps" => clock_steps::check(rounds).await,
            "suspended" => suspended::check(rounds).await,
            "user-code" => user_code::check(rounds).await,
            other => Err(format!("find the test {other:?}: there are {}", TESTS.join(" ")).into()),
        }?;
        row.print();
        kept &= row.apium.kept;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
