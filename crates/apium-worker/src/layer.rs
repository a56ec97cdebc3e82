//! Layers around an execution: tracing, metrics, a database session per task.

use std::fmt;
use std::sync::Arc;

use apium_app::context::context::Ctx;
use futures_util::future::BoxFuture;

use crate::outcome::Outcome;

/// Something around every execution, `before_start` and limits included. The first layer given is the outermost.
pub trait WorkLayer: Send + Sync + 'static {
    /// Runs `next` and may look at, replace or leave out its outcome. Dropped at an await point when the worker stops cold.
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Inner<'a>) -> BoxFuture<'a, Outcome>;
}

/// What a layer is around.
pub struct Inner<'a> {
    ctx: &'a Ctx,
    layers: &'a [Arc<dyn WorkLayer>],
    body: BoxFuture<'a, Outcome>,
}

impl<'a> Inner<'a> {
    pub(crate) fn new(ctx: &'a Ctx, layers: &'a [Arc<dyn WorkLayer>], body: BoxFuture<'a, Outcome>) -> Self {
        Self { ctx, layers, body }
    }

    /// Runs the layers inside and the task.
    pub fn run(self) -> BoxFuture<'a, Outcome> {
        match self.layers.split_first() {
            Some((layer, layers)) => layer.around(self.ctx, Self { layers, ..self }),
            None => self.body,
        }
    }
}

impl fmt::Debug for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}
