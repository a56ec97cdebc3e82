//! The app whose code panics beside its tasks: a route, two serializers, and the layers.

use std::sync::Arc;

use apium::call::{CallOptions, Outgoing, PublishLayer, RouteQuery};
use apium::message::Serializer;
use apium::prelude::*;
use apium::worker::{Next, RunOutcome, WorkLayer};
use apium_protocol::error::Result as ProtocolResult;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{Barrier, watch};

use crate::faults::kit::run_log::RunLog;
use crate::user_code::broken::panics;
use crate::user_code::tasks::Shared;

/// How many tasks the worker runs at once.
pub const SLOTS: usize = 4;

/// The app with this broker and result backend, and what its tasks share.
pub async fn app(builder: AppBuilder, log: Arc<RunLog>, acks_late: bool) -> Result<(App, Shared), BoxError> {
    let shared = Shared { log, meeting: Arc::new(Barrier::new(SLOTS)), released: watch::Sender::new(false) };
    let app = builder
        .setting("task_acks_late", acks_late)
        .setting("accept_content", ["json", Panicking::UNREAD.0])
        .setting("task_annotations", serializers())
        .router(route)
        .serializer(Panicking::UNWRITTEN)
        .serializer(Panicking::UNREAD)
        .layer(Layer)
        .work_layer(Layer)
        .state(shared.clone());
    Ok((app.build().await?, shared))
}

/// The serializers of tasks. They are no attributes, since every app of a program has all its tasks, and the apps of
/// the other fault tests have no such serializers.
fn serializers() -> serde_json::Value {
    let of = |panicking: Panicking| json!({ "serializer": panicking.0 });
    json!({
        "user_code.unwritten": of(Panicking::UNWRITTEN),
        "user_code.retry_unwritten": of(Panicking::UNWRITTEN),
        "user_code.unread": of(Panicking::UNREAD),
    })
}

/// Panics for one task.
fn route(query: RouteQuery<'_>) -> Option<CallOptions> {
    if query.task == "user_code.unrouted" {
        panics("route");
    }
    None
}

/// A serializer that panics, by its name: when it writes, or when it reads.
struct Panicking(&'static str);

impl Panicking {
    const UNWRITTEN: Self = Self("unwritten");
    const UNREAD: Self = Self("unread");
}

impl Serializer for Panicking {
    fn name(&self) -> &str {
        self.0
    }

    fn content_type(&self) -> &str {
        if self.0 == Self::UNREAD.0 { "application/x-unread" } else { "application/x-unwritten" }
    }

    fn encode(&self, _: &Value) -> ProtocolResult<Vec<u8>> {
        if self.0 == Self::UNREAD.0 { Ok(b"?".to_vec()) } else { panics("encode") }
    }

    fn decode(&self, _: &[u8]) -> ProtocolResult<Value> {
        panics("decode")
    }
}

/// A layer of publishing, and one around runs.
struct Layer;

impl PublishLayer for Layer {
    fn before_publish(
        &self,
        message: &mut Outgoing,
        _: Option<&apium::task::Request>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let headers = &message.message.headers;
        match headers.task.as_deref() {
            Some("user_code.refused") => panics("before_publish"),
            Some("user_code.retry_refused") if headers.retries > 0 => panics("before_publish of a retry"),
            _ => Ok(()),
        }
    }
}

impl WorkLayer for Layer {
    fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
        if ctx.task_name() == "user_code.layer" {
            panics("layer");
        }
        Box::pin(async move {
            if ctx.task_name() == "user_code.layer_later" {
                panics("layer, later");
            }
            let outcome = next.run().await;
            if ctx.task_name() == "user_code.layer_after" {
                panics("layer, after the run");
            }
            outcome
        })
    }
}
