//! Spans of OpenTelemetry: the run of a task goes on from the span of its call, and what follows goes on from the run.

use apium_app::canvas::node::Node;
use apium_app::canvas::send::send as send_workflow;
use apium_protocol::message::signature::Signature as WireSignature;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::observing::tasks::{app, worker};
use crate::rig::{json, send, until};

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.as_str().into_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_trace_goes_from_the_caller_through_runs_to_what_follows_them() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(LevelFilter::INFO).with(layer));

    let app = app().await;
    let caller = tracing::info_span!("request");
    let of_caller = caller.context().span().span_context().clone();
    async {
        send(&app, "retries", "retried").await;
        let step = |id: &str| {
            let mut step = WireSignature::new("quick");
            step.options.insert("task_id".to_owned(), json(id));
            step.immutable = true;
            Node::from_wire(&step).unwrap()
        };
        send_workflow(&app, Node::chain(vec![step("first"), step("second")])).await.unwrap();
    }
    .instrument(caller)
    .await;
    let sent = app.sent_by_name("quick").remove(0);
    let header: String = sent.message.headers.extra["traceparent"].decode().unwrap();
    assert_eq!(header, format!("00-{}-{}-01", of_caller.trace_id(), of_caller.span_id()));

    let worker = worker(&app).start().await.unwrap();
    let runs = || -> Vec<SpanData> {
        let spans = exporter.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == "task").collect()
    };
    until("all spans", async || runs().len() >= 4).await;
    worker.stop().await;
    let runs = runs();
    let of = |id: &str| -> Vec<&SpanData> { runs.iter().filter(|span| attribute(span, "id") == id).collect() };
    assert!(runs.iter().all(|span| span.span_context.trace_id() == of_caller.trace_id()), "{runs:#?}");
    let id = |span: &SpanData| -> SpanId { span.span_context.span_id() };
    assert_eq!(of("first")[0].parent_span_id, of_caller.span_id());
    assert_eq!(of("second")[0].parent_span_id, id(of("first")[0]));
    assert_eq!(of("retried")[0].parent_span_id, of_caller.span_id());
    assert_eq!(of("retried")[1].parent_span_id, id(of("retried")[0]));
    assert_eq!(attribute(of("second")[0], "name"), "quick");
    let publishes = exporter.get_finished_spans().unwrap().into_iter().filter(|span| span.name == "publish");
    let of_retried: Vec<SpanData> = publishes.filter(|span| attribute(span, "id") == "retried").collect();
    assert_eq!(of_retried.len(), 1, "the call is in a span of its own");
    assert_eq!(of_retried[0].parent_span_id, of_caller.span_id());
}
