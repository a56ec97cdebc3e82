//! The journal: a layer around all runs that writes a line when a task begins and when it ends, so that one can see how
//! often something ran. It may have a gate, at which tasks wait. There is none of both unless the settings name files
//! for them. The test of this example does: it takes the server away in the middle of an album, and counts afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::{Next, RunOutcome, WorkLayer};
use futures_util::future::BoxFuture;

/// The length of a line, filled with blanks. Of a line that crosses the end of a page `kill -9` may leave a part.
const LINE: usize = 128;

/// The layer.
pub(crate) struct Journal {
    file: File,
    gate: Option<PathBuf>,
    begun: AtomicU64,
}

impl Journal {
    /// Opens the journal at this path, with this gate.
    pub(crate) fn open(path: &Path, gate: Option<PathBuf>) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, gate, begun: AtomicU64::new(0) })
    }

    fn write(&self, what: &str, ctx: &Ctx) -> io::Result<()> {
        let id = ctx.id().map(ToString::to_string).unwrap_or_default();
        let line = format!("{what} {} {id} {}", ctx.task_name(), std::process::id());
        // Several processes have the file open, and one write is not torn apart by those of others.
        (&self.file).write_all(format!("{line:<width$}\n", width = LINE - 1).as_bytes())
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

    async fn run(&self, ctx: &Ctx, next: Next<'_>) -> io::Result<RunOutcome> {
        self.write("begin", ctx)?;
        self.pass_gate().await?;
        let outcome = next.run().await;
        self.write("end", ctx)?;
        Ok(outcome)
    }
}

impl WorkLayer for Journal {
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        // A task whose journal cannot be written has failed.
        Box::pin(async move { self.run(ctx, next).await.unwrap_or_else(|error| Err(error.into()).into()) })
    }
}
