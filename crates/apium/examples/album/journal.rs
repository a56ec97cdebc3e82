//! The journal: a line for each task that begins and ends, so that one can see how often something ran. With it goes a
//! gate, at which tasks wait. Both are off unless the settings name files for them. The test of this example uses them:
//! it takes the server away in the middle of an album, and counts afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apium::prelude::*;

use crate::studio::Studio;

/// The length of a line, filled with blanks. Of a line that crosses the end of a page `kill -9` may leave a part.
const LINE: usize = 128;

/// Where tasks write that they begin and end, and where they wait.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<File>,
    gate: Option<PathBuf>,
    begun: AtomicU64,
}

impl Journal {
    /// Opens the journal at this path, with this gate.
    pub(crate) fn open(path: Option<PathBuf>, gate: Option<PathBuf>) -> io::Result<Self> {
        let file = path.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        Ok(Self { file, gate, begun: AtomicU64::new(0) })
    }

    fn write(&self, ctx: &Ctx, what: &str) -> io::Result<()> {
        let (Some(mut file), Some(id)) = (self.file.as_ref(), ctx.id()) else { return Ok(()) };
        let line = format!("{what} {} {id} {}", ctx.task_name(), std::process::id());
        // Several processes have the file open, and one write is not torn apart by those of others.
        file.write_all(format!("{line:<width$}\n", width = LINE - 1).as_bytes())
    }

    /// Waits until the gate lets one more task pass: the n-th one of this process when its file has n bytes.
    async fn pass_gate(&self) -> io::Result<()> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let Some(gate) = &self.gate else { return Ok(()) };
        while fs::metadata(gate)?.len() <= number {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// A task ends.
    pub(crate) fn end(&self, ctx: &Ctx) -> io::Result<()> {
        self.write(ctx, "end")
    }
}

/// A task begins: the hook `before_start` of all tasks.
pub(crate) async fn begin(ctx: &Ctx) -> TaskResult<()> {
    let Some(studio) = ctx.state::<Studio>() else { return Ok(()) };
    studio.journal.write(ctx, "begin")?;
    studio.journal.pass_gate().await?;
    Ok(())
}
