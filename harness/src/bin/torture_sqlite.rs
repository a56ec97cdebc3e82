//! The fault tests of the embedded driver: `torture_sqlite KILLS [NAME …]`. `kills` kills worker processes at random
//! instants, so many times, and checks that no task is lost; the others print a line for a guarantee of
//! `docs/PROMISES.md`.

use std::path::Path;
use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::operating::crew::{self, log_file};
use apium_harness::operating::rows;
use apium_harness::operating::size::Size;
use apium_harness::scratch::ScratchFolder;
use apium_harness::torture::store::Site;
use apium_harness::torture::{clock_steps, full_disk, kills, suspended, tasks, user_code};

/// The tests, beside those that memory has too.
const TESTS: [&str; 5] = ["kills", "full-disk", "clock-steps", "suspended", "user-code"];

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (kills, named) = match args.as_slice() {
        // How it starts itself as another process.
        ["worker", folder] => return kills::run_worker(Path::new(folder)).await.map(|()| ExitCode::SUCCESS),
        ["steady-worker", rest @ ..] => return tasks::role(rest).await.map(|()| ExitCode::SUCCESS),
        ["operating-worker", rest @ ..] => return crew::role(rest).await.map(|()| ExitCode::SUCCESS),
        [kills, named @ ..] => (kills.parse::<usize>()?, named),
        [] => return Err("read the arguments: give the number of kills, and names such as full-disk".into()),
    };
    // About as much time for each test.
    let rounds = (kills as u64 / 20).max(2);
    let mut kept = true;
    let all: Vec<&str> = TESTS.into_iter().chain(rows::GUARANTEES).collect();
    for test in if named.is_empty() { &all[..] } else { named } {
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
            other if rows::GUARANTEES.contains(&other) => {
                let scratch = ScratchFolder::new()?;
                let (site, log) = (Site::sqlite(scratch.folder()), log_file(scratch.folder()));
                rows::check(other, site, &log, &Size::of_kills(kills)).await
            }
            other => Err(format!("find the test {other:?}: there are {}", all.join(" ")).into()),
        }?;
        row.print();
        kept &= row.apium.kept;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
