//! Layers: code of the app's around every run of a task, for example for tracing, metrics or a database session.

use std::fmt;
use std::sync::Arc;

use apium_app::context::context::Ctx;
use futures_util::future::BoxFuture;

use crate::outcome::RunOutcome;

/// Code around every run of a task. The time limits and the hook `before_start` are inside it; the other hooks run
/// after it. Of several layers the first one that the builder was given is the outermost.
pub trait WorkLayer: Send + Sync + 'static {
    /// Runs `next`, and may look at its outcome, replace it, or not run it at all. A panic of a layer is a failure of
    /// the task. The future is dropped at an await point when the worker stops at once, and in a cold stop when it has
    /// not ended 10 s after the run was cancelled.
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome>;
}

/// What a layer runs: the layers inside it, and the task.
pub struct Next<'a> {
    ctx: &'a Ctx,
    layers: &'a [Arc<dyn WorkLayer>],
    body: BoxFuture<'a, RunOutcome>,
}

impl<'a> Next<'a> {
    pub(crate) fn new(ctx: &'a Ctx, layers: &'a [Arc<dyn WorkLayer>], body: BoxFuture<'a, RunOutcome>) -> Self {
        Self { ctx, layers, body }
    }

    /// Runs the layers inside this one, and the task.
    pub fn run(self) -> BoxFuture<'a, RunOutcome> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.around(self.ctx, Self { layers, ..self }),
            None => self.body,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}
