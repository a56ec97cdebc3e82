//! Code of the user's that panics or hangs costs its own task only, with the queue and the results in one file.

use std::path::PathBuf;

use apium::prelude::*;

use crate::faults::kit::row::Row;
use crate::scratch::ScratchFolder;
use crate::torture::store::Site;
use crate::user_code::trial;

/// Lets every place panic or hang so many times.
pub async fn check(rounds: u64) -> Result<Row, BoxError> {
    let scratch = ScratchFolder::new()?;
    let folders: Vec<PathBuf> = ["late", "early"].iter().map(|acks| scratch.folder().join(acks)).collect();
    folders.iter().try_for_each(std::fs::create_dir)?;
    let mut folders = folders.iter().cycle();
    let builder = || Site::sqlite(folders.next().map_or(scratch.folder(), PathBuf::as_path)).app();
    Ok(Row {
        guarantee: "user-code",
        what: "code that panics or hangs ends its own task only",
        apium: trial::check(rounds, builder).await?,
        celery: None,
    })
}
