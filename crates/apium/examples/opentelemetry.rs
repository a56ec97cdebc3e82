//! A trace of OpenTelemetry that goes from a caller through a task to the task that follows it. A program needs the
//! feature `otel` of `apium`, and a real exporter (`opentelemetry-otlp`) in place of the one that keeps spans in
//! memory.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::Instrument as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

// guide: tasks
#[task(name = "shop.bill")]
async fn bill(order: u32) -> TaskResult<u32> {
    tracing::info!(order, "this is in the span of the task");
    Ok(order)
}

#[task(name = "shop.thank")]
async fn thank(order: u32) -> TaskResult<String> {
    Ok(format!("thank you for order {order}"))
}
// guide end

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // guide: layer
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    // The layer makes spans of OpenTelemetry of those of `tracing`, among them `publish` and `task`.
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
    // guide end

    let app = App::builder("shop").broker("memory://").backend("memory://").register::<bill>().register::<thank>();
    let app = app.build().await?;
    let worker = app.worker().concurrency(1).start().await?;
    // guide: request
    let thanked = async { (bill::s(7) | thank::p()).send(&app).await };
    let thanked = thanked.instrument(tracing::info_span!("request")).await?;
    println!("{}", thanked.get().await?);
    // guide end
    worker.stop().await;

    let spans = exporter.get_finished_spans()?;
    let find = |name: &str, task: &str| {
        spans.iter().find(|span| {
            let of_task = span.attributes.iter().any(|attribute| attribute.value.as_str() == task);
            span.name == name && (task.is_empty() || of_task)
        })
    };
    let (request, bill, thank) = (find("request", ""), find("task", "shop.bill"), find("task", "shop.thank"));
    let (Some(request), Some(bill), Some(thank)) = (request, bill, thank) else {
        return Err(format!("a span is missing: {spans:#?}").into());
    };
    if bill.parent_span_id == request.span_context.span_id() {
        println!("bill is in the trace of the request");
    }
    if thank.parent_span_id == bill.span_context.span_id() {
        println!("thank goes on from bill");
    }
    Ok(())
}
