//! Kills worker processes of the embedded driver at random instants and checks that no task is lost:
//! `torture_sqlite KILLS`.

use std::path::Path;
use std::process::ExitCode;

use apium::prelude::BoxError;
use apium_harness::torture;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // How it starts itself as another process.
        ["worker", folder] => torture::run_worker(Path::new(folder)).await.map(|()| ExitCode::SUCCESS),
        [kills] => {
            let verdict = torture::torture(kills.parse()?).await?;
            verdict.print();
            Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err("read the arguments: give the number of kills".into()),
    }
}
