//! Requests as they come: decoded by the app's accept list, and left out where they cannot be read or are for others.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use apium_app::observe::lamport_clock::LamportClock;
use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::error::{Error, ErrorKind, with_causes};
use apium_protocol::message::control::ControlRequest;
use apium_protocol::message::message::Message;

use crate::control::pattern::matches;
use crate::pool::guard::guarded;

/// Reads requests.
pub(crate) struct Requests {
    pub(crate) node: Arc<str>,
    pub(crate) codecs: Codecs,
    pub(crate) accept: Accept,
    pub(crate) clock: LamportClock,
    /// The kinds of what could not be read so far. Each is a warning once: anybody may broadcast.
    pub(crate) warned: Mutex<HashSet<String>>,
}

impl Requests {
    /// Reads a message. `None` where it is not for this node, or is no request.
    pub(crate) fn read(&self, message: &Message) -> Option<ControlRequest> {
        let clock = message.headers.extra.get("clock").and_then(|clock| clock.decode::<u64>().ok());
        self.clock.adjust(clock.unwrap_or_default());
        // A serializer of the app's own may panic.
        let read = guarded(|| self.decode(message));
        match read {
            Ok(Ok(request)) => self.is_for_this_node(&request).then_some(request),
            Ok(Err(error)) => {
                self.tell(&format!("{:?}", error.kind()), &with_causes(&error));
                None
            }
            Err(panicked) => {
                self.tell("panic", &panicked);
                None
            }
        }
    }

    fn decode(&self, message: &Message) -> Result<ControlRequest, Error> {
        let content_type = message.properties.content_type.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Decode, "tell how to decode a control request: it has no content type")
        })?;
        let body = self.codecs.decode_value(&message.body, content_type, &self.accept)?;
        ControlRequest::from_json(body.as_bytes())
    }

    fn is_for_this_node(&self, request: &ControlRequest) -> bool {
        match (&request.destination, &request.pattern, &request.matcher) {
            (Some(nodes), _, _) if !nodes.is_empty() => nodes.iter().any(|node| **node == *self.node),
            (_, Some(pattern), Some(matcher)) => matches(&self.node, pattern, matcher).unwrap_or_else(|reason| {
                self.tell("pattern", &reason);
                false
            }),
            _ => true,
        }
    }

    fn tell(&self, kind: &str, why: &dyn std::fmt::Display) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(kind.to_owned()) {
            tracing::warn!(kind, "a control request was left out: {why}; others of this kind are logged as debug");
        } else {
            tracing::debug!(kind, "a control request was left out: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Requests {
        Requests {
            node: "w1@h".into(),
            codecs: Codecs::standard(),
            accept: Accept::names(["json", "msgpack", "yaml"]),
            clock: LamportClock::default(),
            warned: Mutex::default(),
        }
    }

    fn message(content_type: Option<&str>, body: &[u8]) -> Message {
        let mut message = ControlRequest::new("ping", Vec::new()).to_message(7, 0.0);
        message.properties.content_type = content_type.map(|text| text.to_owned().into());
        message.body = body.to_vec().into();
        message
    }

    #[test]
    fn what_is_no_request_is_left_out_and_told_once() {
        let requests = requests();
        let json = Some("application/json");
        for (content_type, body) in [
            (json, &b"{"[..]),
            (json, b"[1]"),
            (json, b"{\"method\": 7}"),
            (json, b"\xff\xfe"),
            (None, b"{\"method\": \"ping\"}"),
            (Some("application/x-python-serialize"), b"x"),
            (Some("application/x-msgpack"), b"\xc1"),
            (Some("nothing/known"), b"x"),
        ] {
            for _ in 0..2 {
                assert_eq!(requests.read(&message(content_type, body)), None, "{content_type:?}");
            }
        }
        let told = requests.warned.lock().unwrap().len();
        assert!((2..=4).contains(&told), "{told} kinds");
        assert_eq!(requests.clock.value(), 23, "the clock of what cannot be read counts");
        // 10 MB of rubbish.
        assert_eq!(requests.read(&message(json, &vec![b'['; 10_000_000])), None);
    }

    #[test]
    fn every_accepted_format_is_read() {
        let requests = requests();
        let mut read = Vec::new();
        for (name, content_type, body) in [
            ("json", "application/json", &b"{\"method\": \"ping\", \"arguments\": {}}"[..]),
            ("yaml", "application/x-yaml", b"method: ping\narguments: {}\n"),
            ("msgpack", "application/x-msgpack", b"\x82\xa6method\xa4ping\xa9arguments\x80"),
        ] {
            // A build may be without the others.
            if requests.codecs.serializer_names().any(|present| present == name) {
                let request = requests.read(&message(Some(content_type), body)).expect(content_type);
                assert_eq!((request.method.as_str(), request.arguments.len()), ("ping", 0));
                read.push(name);
            }
        }
        assert!(read.contains(&"json"), "{read:?}");
    }

    #[test]
    fn a_request_for_others_is_left_out() {
        let requests = requests();
        for (destination, pattern, wanted) in [
            (None, None, true),
            (Some(vec!["w1@h"]), None, true),
            (Some(vec!["w2@h", "w1@h"]), Some(("glob", "no")), true),
            (Some(vec!["w2@h"]), Some(("glob", "*")), false),
            (Some(vec![]), None, true),
            (Some(vec![]), Some(("glob", "w2*")), false),
            (None, Some(("pcre", "w")), true),
            (None, Some(("pcre", "h")), false),
            (None, Some(("other", "*")), false),
        ] {
            let mut request = ControlRequest::new("ping", Vec::new());
            request.destination = destination.clone().map(|nodes| nodes.into_iter().map(str::to_owned).collect());
            request.matcher = pattern.map(|(matcher, _)| matcher.to_owned());
            request.pattern = pattern.map(|(_, pattern)| pattern.to_owned());
            let read = requests.read(&request.to_message(1, 0.0));
            assert_eq!(read.is_some(), wanted, "{destination:?} {pattern:?}");
        }
    }
}
