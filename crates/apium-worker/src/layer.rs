//! Layers: code of the app's around every run of a task, for example for tracing, metrics or a database session.

use std::fmt;
use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::context::context::Ctx;
use futures_util::future::BoxFuture;

use crate::outcome::RunOutcome;

/// Code around every run of a task. The time limits and the hook `before_start` are inside it; the other hooks run
/// after it.
///
/// A layer is set on the app ([`AppWorkLayers::work_layer`]) and then around every run of that app: in the worker of
/// the command line, in [`app.worker()`](crate::builder::AppWorker::worker), in the test kit and in eager calls. Or it
/// is set on one worker ([`WorkerBuilder::layer`](crate::builder::WorkerBuilder::layer)). Those of the app are outside
/// of those of the worker, and of each the first one that the builder was given is the outermost.
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

/// Layers that an app has for all of its runs. They are a state of the app, which no task takes: the app does not know
/// what a run is.
#[derive(Clone, Default)]
pub(crate) struct WorkLayers(Vec<Arc<dyn WorkLayer>>);

impl WorkLayers {
    /// The layers of an app, the outermost first.
    pub(crate) fn of(app: &App) -> Vec<Arc<dyn WorkLayer>> {
        app.states().get::<Self>().map(|layers| layers.0.clone()).unwrap_or_default()
    }
}

/// Adds [`work_layer`](Self::work_layer) to [`AppBuilder`].
pub trait AppWorkLayers: Sized {
    /// Adds a layer around every run of this app, inside those that were added before.
    fn work_layer(self, layer: impl WorkLayer) -> Self;
}

impl AppWorkLayers for AppBuilder {
    fn work_layer(self, layer: impl WorkLayer) -> Self {
        self.change_state(|WorkLayers(layers)| layers.push(Arc::new(layer)))
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}
