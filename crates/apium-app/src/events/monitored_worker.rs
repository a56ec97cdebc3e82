//! A worker as its events show it (Celery: `celery.events.state.Worker`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::event::Event;
use jiff::Timestamp;

use crate::events::receiver::ReceivedEvent;

/// The heartbeats that are remembered.
const HEARTBEATS: usize = 4;

/// The seconds between two heartbeats of a worker that does not say.
const FREQ: f64 = 60.0;

/// How many intervals may pass without a heartbeat before a worker counts as gone.
const WINDOW: f64 = 2.0;

/// A worker. It is known from its first event on, also where that is of a task.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MonitoredWorker {
    /// The name of the node.
    pub hostname: Arc<str>,
    /// Its process.
    pub pid: Option<u32>,
    /// The seconds between two heartbeats.
    pub freq: f64,
    /// When its last signs of life were received, the last one last: heartbeats, and events of its tasks.
    pub heartbeats: VecDeque<Timestamp>,
    /// Its logical clock.
    pub clock: u64,
    /// How many tasks it runs.
    pub active: Option<u64>,
    /// How many tasks it has run.
    pub processed: Option<u64>,
    /// The load of its machine over 1, 5 and 15 minutes.
    pub loadavg: Option<[f64; 3]>,
    /// What software it is: `py-celery`.
    pub sw_ident: Option<String>,
    /// Its version.
    pub sw_ver: Option<String>,
    /// Its operating system.
    pub sw_sys: Option<String>,
}

impl MonitoredWorker {
    pub(crate) fn new(hostname: Arc<str>) -> Self {
        Self {
            hostname,
            pid: None,
            freq: FREQ,
            heartbeats: VecDeque::new(),
            clock: 0,
            active: None,
            processed: None,
            loadavg: None,
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        }
    }

    /// Takes an event of the worker itself. `worker-offline` ends its life.
    pub(crate) fn worker_event(&mut self, received: &ReceivedEvent) {
        let event = &received.event;
        let decoded = |name: &str| event.field(name).and_then(|value| value.decode().ok());
        if event.pid != 0 {
            self.pid = Some(event.pid);
        }
        self.clock = event.clock;
        if let Some(freq) = event.field("freq").and_then(|freq| freq.decode::<f64>().ok()) {
            self.freq = if freq.is_finite() && freq > 0.0 { freq } else { FREQ };
        }
        self.active = decoded("active").or(self.active);
        self.processed = decoded("processed").or(self.processed);
        if let Some(loadavg) = event.field("loadavg").and_then(|value| value.decode().ok()) {
            self.loadavg = Some(loadavg);
        }
        for (field, name) in
            [(&mut self.sw_ident, "sw_ident"), (&mut self.sw_ver, "sw_ver"), (&mut self.sw_sys, "sw_sys")]
        {
            if let Some(text) = text_of(event, name) {
                *field = Some(text);
            }
        }
        match &*event.kind {
            "worker-offline" => self.heartbeats.clear(),
            _ => self.sign_of_life(received.at),
        }
    }

    /// It has sent something.
    pub(crate) fn sign_of_life(&mut self, at: Timestamp) {
        self.heartbeats.push_back(self.heartbeats.back().map_or(at, |last| at.max(*last)));
        while self.heartbeats.len() > HEARTBEATS {
            self.heartbeats.pop_front();
        }
    }

    /// Until when it counts as alive without another sign of life; `None` for one that said that it ends.
    pub fn expires(&self) -> Option<Timestamp> {
        let window = Duration::try_from_secs_f64(self.freq * WINDOW).unwrap_or(Duration::MAX);
        self.heartbeats.back().map(|last| last.saturating_add(window).unwrap_or(Timestamp::MAX))
    }

    /// Whether it is alive at this time: its last sign of life came within two of its intervals.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|expires| now < expires)
    }
}

/// How many bytes of a text are kept.
const MOST_TEXT: usize = 64 * 1024;

/// A field as text; what is no text is shown as JSON. A long one is cut.
pub(crate) fn text_of(event: &Event, name: &str) -> Option<String> {
    let value = event.field(name)?;
    let mut text = value.decode().unwrap_or_else(|_| value.to_utf8());
    if text.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    Some(text)
}
