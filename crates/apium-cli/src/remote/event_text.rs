//! An event as Celery's `events --dump` prints it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use apium_app::events::receiver::ReceivedEvent;
use apium_protocol::json::text::Json;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::remote::reply_text::plain;

/// How many tasks are remembered by name.
const MOST_NAMES: usize = 4_095;

/// Shows events. It remembers what `task-sent` and `task-received` say of a task, for its later events.
#[derive(Debug, Default)]
pub(crate) struct EventText {
    tasks: HashMap<String, String>,
    order: VecDeque<String>,
}

impl EventText {
    /// The line of an event.
    pub(crate) fn line(&mut self, received: &ReceivedEvent) -> String {
        let event = &received.event;
        let kind = event.kind.to_lowercase();
        let mut fields: BTreeMap<&str, String> =
            event.fields.iter().map(|(name, value)| (&**name, shown(value))).collect();
        fields.insert("clock", event.clock.to_string());
        fields.insert("pid", event.pid.to_string());
        fields.insert("utcoffset", float(event.utcoffset));
        fields.insert("local_received", float(received.at.as_microsecond() as f64 / 1e6));
        let task = kind.starts_with("task-").then(|| self.task(&kind, &mut fields));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let task = task.map(|task| format!(" {task}")).unwrap_or_default();
        let (host, time) = (&event.hostname, time(event.timestamp));
        format!("{host} [{time}] {}:{task} {}", humanized(&kind), fields.join(", "))
    }

    fn task(&mut self, kind: &str, fields: &mut BTreeMap<&str, String>) -> String {
        let id = fields.remove("uuid").unwrap_or_default();
        if !matches!(kind, "task-received" | "task-sent") {
            return self.tasks.get(&id).cloned().unwrap_or_default();
        }
        let mut take = |name: &str| fields.remove(name).unwrap_or_else(|| "None".to_owned());
        let text = format!("{}({id}) args={} kwargs={}", take("name"), take("args"), take("kwargs"));
        if self.tasks.insert(id.clone(), text.clone()).is_none() {
            self.order.push_back(id);
            if self.order.len() > MOST_NAMES
                && let Some(oldest) = self.order.pop_front()
            {
                self.tasks.remove(&oldest);
            }
        }
        text
    }
}

fn shown(value: &Json) -> String {
    value.to_value().map_or_else(|_| value.to_utf8(), |value| plain(&value))
}

fn float(number: f64) -> String {
    Json::from_serialize(&number).map(|json| json.to_utf8()).unwrap_or_default()
}

/// Python's `str` of a `datetime` in UTC.
fn time(seconds: f64) -> String {
    // Rounded as Python does.
    let micros = seconds.floor() * 1e6 + (seconds.fract() * 1e6).round_ties_even();
    let Ok(instant) = Timestamp::from_microsecond(micros as i64) else { return float(seconds) };
    let zoned = instant.to_zoned(TimeZone::UTC);
    match instant.subsec_microsecond() {
        0 => zoned.strftime("%Y-%m-%d %H:%M:%S+00:00").to_string(),
        _ => zoned.strftime("%Y-%m-%d %H:%M:%S.%6f+00:00").to_string(),
    }
}

/// The words for a type.
fn humanized(kind: &str) -> String {
    match kind {
        "worker-offline" => "shutdown".to_owned(),
        "worker-online" => "started".to_owned(),
        "worker-heartbeat" => "heartbeat".to_owned(),
        other => other.replace('-', " "),
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::message::event::Event;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn events_are_shown_as_celery_shows_them() {
        let at: Timestamp = "2026-11-22T16:07:18.5Z".parse().unwrap();
        let mut text = EventText::default();
        let mut line = |json: &'static str| {
            let event = Event::read_all(&Bytes::from_static(json.as_bytes())).unwrap().remove(0);
            text.line(&ReceivedEvent::new(event, at))
        };
        let common = "local_received=1795363638.5, pid=7";
        let received = line(
            r#"{"type": "task-received", "hostname": "w@h", "timestamp": 1795363638.25, "pid": 7, "clock": 2, "uuid": "t1", "name": "tasks.add", "args": "(1, 2)", "kwargs": "{}", "eta": null}"#,
        );
        assert_eq!(
            received,
            format!(
                "w@h [2026-11-22 16:07:18.250000+00:00] task received: tasks.add(t1) args=(1, 2) kwargs={{}} clock=2, \
                 eta=None, {common}, utcoffset=0.0"
            )
        );
        let ended = line(
            r#"{"type": "task-succeeded", "hostname": "w@h", "timestamp": 1795363638, "pid": 7, "uuid": "t1", "result": "3"}"#,
        );
        assert!(
            ended.starts_with(
                "w@h [2026-11-22 16:07:18+00:00] task succeeded: tasks.add(t1) args=(1, 2) kwargs={} clock="
            ),
            "{ended}"
        );
        assert!(ended.contains("result=3"), "{ended}");
        let beat = line(
            r#"{"type": "worker-heartbeat", "hostname": "w@h", "timestamp": 1, "loadavg": [0.5, 1], "active": true}"#,
        );
        assert!(beat.contains("] heartbeat: active=True, clock=0, loadavg=[0.5, 1], local_received="), "{beat}");
        assert!(line(r#"{"type": "own-kind", "timestamp": 1e300}"#).contains("own kind:"));
        // Of all digits in one number, Python's would be rounded up.
        let half = line(r#"{"type": "own-kind", "hostname": "w@h", "timestamp": 1795991036.7608865}"#);
        assert!(half.starts_with("w@h [2026-11-29 22:23:56.760886+00:00]"), "{half}");
    }
}
