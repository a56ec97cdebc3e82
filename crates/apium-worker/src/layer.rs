//! Layers around an execution: tracing, metrics, a database session per task.

use std::fmt;
use std::sync::Arc;

use apium_app::context::context::Ctx;
use futures_util::future::BoxFuture;

use crate::outcome::RunOutcome;

/// Something around every execution, `before_start` and limits included. The first layer given is the outermost.
pub trait WorkLayer: Send + Sync + 'static {
    /// Runs `next` and may look at, replace or leave out its outcome. Dropped at an await point when the worker stops cold.
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome>;
}

/// What a layer is around.
pub struct Next<'a> {
    ctx: &'a Ctx,
    layers: &'a [Arc<dyn WorkLayer>],
    body: BoxFuture<'a, RunOutcome>,
}

impl<'a> Next<'a> {
    pub(crate) fn new(ctx: &'a Ctx, layers: &'a [Arc<dyn WorkLayer>], body: BoxFuture<'a, RunOutcome>) -> Self {
        Self { ctx, layers, body }
    }

    /// Runs the layers inside and the task.
    pub fn run(self) -> BoxFuture<'a, RunOutcome> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.around(self.ctx, Self { layers, ..self }),
            None => self.body,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}
