//! Follows one task through the code: prints a line for each stop, in the order in which the message passes them.
//! `ARCHITECTURE.md` explains the stops. Each is a span of the target `apium::walk` at the level TRACE.
//!
//! ```text
//! cargo run --example walk
//! ```

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use apium::prelude::*;
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

#[task(name = "walk.add", acks_late)]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    tracing::trace_span!(target: "apium::walk", "your function", file = file!(), x, y).in_scope(|| Ok(x + y))
}

/// Prints each stop.
#[derive(Default)]
struct Stops {
    count: AtomicUsize,
    output: Mutex<()>,
}

impl<S: tracing::Subscriber> Layer<S> for Stops {
    fn on_new_span(&self, attributes: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {
        let about = attributes.metadata();
        if about.target() != "apium::walk" {
            return;
        }
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        let path = about.file().and_then(|file| file.split("crates/").last()).unwrap_or_default();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let _one_at_a_time = self.output.lock();
        // A closed pipe does not stop the walk.
        let line = format!("{number:>2}. {:<14} {path:<36}{}", about.name(), fields.0);
        let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
    }
}

/// The fields of a span as `name=value`.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() != "file" {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    set_global_default(Registry::default().with(Stops::default()))?;
    let app = App::builder("walk").broker("memory://").backend("memory://").build().await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = app.worker().concurrency(1).run_until(async {
        let _ = stopped.await;
    });
    let caller = async {
        let sum = add::delay(1, 2).send(&app).await?.get().await?;
        assert_eq!(sum, 3);
        drop(stop);
        Ok::<(), BoxError>(())
    };
    let (worked, called) = tokio::join!(worker, caller);
    worked?;
    called
}
