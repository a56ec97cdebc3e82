//! The fault tests of the memory driver: `torture_memory full|usual|brief [NAME …]` prints a line for each guarantee,
//! by its name in `docs/PROMISES.md`. Memory lives and dies with its process, so each worker has a runtime of its own
//! in this process, and a kill drops the runtime with all that is under way in it.

use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::faults::kit::chosen;
use apium_harness::operating::crew::{log_file, log_warnings_to};
use apium_harness::operating::rows::{self, GUARANTEES};
use apium_harness::operating::size::Size;
use apium_harness::scratch::ScratchFolder;
use apium_harness::torture::store::Site;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let scratch = ScratchFolder::new()?;
    let log = log_file(scratch.folder());
    log_warnings_to(&log)?;
    let sizes = [Size::FULL, Size::USUAL, Size::BRIEF];
    let kept = chosen::run(&args, sizes, &GUARANTEES, async |guarantee, size| {
        let scratch = ScratchFolder::new()?;
        rows::check(guarantee, Site::new(scratch.folder(), "memory://"), &log, size).await
    });
    Ok(if kept.await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
