//! W3C trace context: with the feature `otel` the header `traceparent` of a message is the span in which its task was
//! called, and the span of the run is a child of that. Without the feature nothing is read or written.
//!
//! Celery's instrumentation of OpenTelemetry uses the same headers, so a trace goes through Rust and Python.

#[cfg(feature = "otel")]
pub use with_otel::set_parent;
#[cfg(feature = "otel")]
pub(crate) use with_otel::{inherit, inject};
#[cfg(not(feature = "otel"))]
pub use without_otel::set_parent;
#[cfg(not(feature = "otel"))]
pub(crate) use without_otel::{inherit, inject};

/// The same functions, which do nothing.
#[cfg(not(feature = "otel"))]
mod without_otel {
    use apium_protocol::message::headers::Headers;
    use tracing::Span;

    pub(crate) fn inject(_headers: &mut Headers, _replaces: bool) {}

    pub(crate) fn inherit(_headers: &mut Headers, _from: &Headers) {}

    /// Makes the context in the headers of a message the parent of a span that was not entered yet.
    #[doc(hidden)]
    pub fn set_parent(_span: &Span, _headers: &Headers) {}
}

#[cfg(feature = "otel")]
mod with_otel {
    use std::str::FromStr as _;

    use apium_protocol::error::with_causes;
    use apium_protocol::json::text::Json;
    use apium_protocol::message::headers::Headers;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    const TRACEPARENT: &str = "traceparent";
    const TRACESTATE: &str = "tracestate";

    /// Writes the context of the current span into the headers of a message. `replaces` says whether it replaces one
    /// that is there: that of a retry is of the run before.
    pub(crate) fn inject(headers: &mut Headers, replaces: bool) {
        if !replaces && headers.extra.contains_key(TRACEPARENT) {
            return;
        }
        let context = Span::current().context();
        let context = context.span().span_context().clone();
        if !context.is_valid() {
            return;
        }
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
        set(headers, TRACEPARENT, &format!("00-{trace}-{span}-{flags:02x}"));
        let state = context.trace_state().header();
        match state.is_empty() {
            true => drop(headers.extra.remove(TRACESTATE)),
            false => set(headers, TRACESTATE, &state),
        }
    }

    /// Gives the headers of what follows a run the context of the message before, where they have none.
    pub(crate) fn inherit(headers: &mut Headers, from: &Headers) {
        if headers.extra.contains_key(TRACEPARENT) {
            return;
        }
        for name in [TRACEPARENT, TRACESTATE] {
            if let Some(value) = from.extra.get(name) {
                headers.extra.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// Makes the context in the headers of a message the parent of a span that was not entered yet.
    #[doc(hidden)]
    pub fn set_parent(span: &Span, headers: &Headers) {
        let text = |name: &str| headers.extra.get(name)?.decode::<String>().ok();
        let Some(parent) = text(TRACEPARENT).and_then(|parent| read(&parent, text(TRACESTATE).as_deref())) else {
            return;
        };
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        if let Err(error) = span.set_parent(context) {
            // Nobody collects spans, or not this one.
            tracing::trace!(error = %with_causes(&error), "could not set the parent of the span of a run");
        }
    }

    fn set(headers: &mut Headers, name: &str, text: &str) {
        if let Ok(json) = Json::from_serialize(text) {
            headers.extra.insert(name.to_owned(), json);
        }
    }

    /// Reads the text of the two headers; `None` for what is no context.
    fn read(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let [version, trace, span, flags, ref more @ ..] = parts[..] else { return None };
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !fits || version == "ff" || (version == "00" && !more.is_empty()) {
            return None;
        }
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        let state = tracestate.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let context =
            SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state);
        context.is_valid().then_some(context)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_context_is_read_as_the_standard_says() {
            let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let context = read(good, Some("vendor=1")).expect("it is a context");
            assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
            assert!(context.is_remote() && context.is_sampled());
            assert_eq!(context.trace_state().header(), "vendor=1");
            // A later version may have more.
            assert!(read(&good.replacen("00", "01", 1).replace("-01", "-01-more"), None).is_some());
            for bad in [
                "",
                "00",
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            ] {
                assert!(read(bad, None).is_none(), "{bad}");
            }
        }

        #[test]
        fn what_follows_inherits_and_does_not_replace() {
            let (mut from, mut to) = (Headers::default(), Headers::default());
            set(&mut from, TRACEPARENT, "a");
            set(&mut from, TRACESTATE, "b");
            inherit(&mut to, &from);
            assert_eq!(to.extra, from.extra);
            set(&mut from, TRACEPARENT, "c");
            inherit(&mut to, &from);
            assert_ne!(to.extra, from.extra);
            inject(&mut to, true);
            assert_ne!(to.extra, from.extra, "there is no span, so nothing is written");
        }
    }
}
