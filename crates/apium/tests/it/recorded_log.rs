//! Records the log while a future runs.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A line of the log: its level, and message and fields as text, with the fields of the spans around it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) text: String,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Line>>>);

struct SpanText(String);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attrs: &tracing::span::Attributes<'_>, id: &tracing::span::Id, ctx: Context<'_, S>) {
        let mut text = String::new();
        attrs.record(&mut Text(&mut text));
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(SpanText(text));
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(SpanText(more)) = span.extensions().get::<SpanText>() {
                text.push_str(more);
            }
        }
        self.0.lock().unwrap().push(Line { level: event.metadata().level().to_string(), text });
    }
}

/// Runs a future and returns what was logged meanwhile, by other tests, too: look for your own ids. The whole program
/// has one subscriber, because subscribers of several threads would race for what `tracing` caches of each call site.
pub(crate) async fn record(running: impl Future<Output = ()>) -> Vec<Line> {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| {
        let recorder = Recorder::default();
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(recorder.clone())).unwrap();
        recorder
    });
    let before = recorder.0.lock().unwrap().len();
    running.await;
    recorder.0.lock().unwrap()[before..].to_vec()
}
