//! Every option of a call: `tasks.whoami` returns what arrived, which must be the same for every producer and worker.

use std::time::Duration;

use apium::driver::Clock;
use apium::message::timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use crate::kit::pair::Pair;
use crate::kit::side::Side;

/// An instant from now as Python writes it, with microseconds and an offset in minutes.
pub(crate) fn at(seconds: f64, offset: i32) -> String {
    let now = Clock::system().now();
    let span = Duration::from_secs_f64(seconds.abs());
    let at = if seconds < 0.0 { now - span } else { now + span };
    let micros = at.as_microsecond() / 10 * 10 + 3;
    let at = jiff::Timestamp::from_microsecond(micros).unwrap();
    timestamp::format_in(at, &TimeZone::fixed(Offset::from_seconds(offset * 60).unwrap()))
}

/// An option, and how it changes what the task sees.
struct Choice {
    options: Value,
    seen: Value,
}

fn choice(options: Value, seen: Value) -> Choice {
    Choice { options, seen }
}

/// Options, and the fields of the request that they change.
fn choices() -> Vec<Choice> {
    let zones = [0, 330, 345, -570, 765, -60];
    let mut all: Vec<Choice> = Vec::new();
    for offset in zones {
        let (soon, past, last) = (at(0.4, offset), at(-90_000.0, offset), at(50.0, offset));
        all.push(choice(json!({ "eta": soon }), json!({ "eta": soon })));
        all.push(choice(json!({ "eta": past, "expires": last }), json!({ "eta": past, "expires": last })));
    }
    all.extend([
        choice(json!({}), json!({})),
        choice(json!({ "countdown": 0 }), json!({})),
        choice(json!({ "queue": "other" }), json!({ "delivery_info": from("", "other", 0) })),
        choice(json!({ "queue": "other", "priority": 3 }), json!({ "delivery_info": from("", "other", 3) })),
        choice(
            json!({ "routing_key": "other", "exchange": "other" }),
            json!({ "delivery_info": from("other", "other", 0) }),
        ),
        choice(json!({ "priority": 0 }), json!({})),
        choice(json!({ "priority": 9 }), json!({ "delivery_info": from("", "celery", 9) })),
        choice(json!({ "shadow": "another name" }), json!({ "shadow": "another name" })),
        choice(json!({ "time_limit": 50 }), json!({ "timelimit": [50, null] })),
        choice(json!({ "time_limit": 50, "soft_time_limit": 2.5 }), json!({ "timelimit": [50, 2.5] })),
        choice(json!({ "root_id": "a-root" }), json!({ "root_id": "a-root" })),
        choice(json!({ "root_id": "r", "parent_id": "a-parent" }), json!({ "root_id": "r", "parent_id": "a-parent" })),
        choice(json!({ "group_id": "a-group" }), json!({ "group": "a-group" })),
        choice(json!({ "group_id": "g", "group_index": 7 }), json!({ "group": "g", "group_index": 7 })),
        choice(
            json!({ "headers": { "x-a": 1, "ü": ["b", null] } }),
            json!({ "headers": { "x-a": 1, "ü": ["b", null] } }),
        ),
        choice(
            json!({ "stamped_headers": ["team"], "team": ["a", "b"] }),
            json!({ "stamped_headers": ["team"], "stamps": { "team": ["a", "b"] } }),
        ),
        choice(json!({ "argsrepr": "('***',)" }), json!({ "argsrepr": "('***',)" })),
        choice(json!({ "kwargsrepr": "{'secret': '***'}" }), json!({ "kwargsrepr": "{'secret': '***'}" })),
        choice(json!({ "reply_to": "my-replies" }), json!({ "reply_to": "my-replies" })),
        choice(json!({ "ignore_result": false }), json!({ "ignore_result": false })),
        choice(json!({ "delivery_mode": 1 }), json!({})),
        choice(json!({ "retry": false }), json!({})),
        choice(json!({ "message_id": "m-1", "app_id": "shop" }), json!({})),
    ]);
    let policy = json!({ "max_retries": 2, "interval_start": 0.0, "interval_step": 0.1, "interval_max": 0.2 });
    all.push(choice(json!({ "retry": true, "retry_policy": policy }), json!({})));
    let serializers = ["json", "msgpack", "yaml"].map(|name| json!({ "serializer": name }));
    let compressions = ["gzip", "bzip2", "lzma", "brotli", "zstd"];
    all.extend(
        serializers
            .into_iter()
            .chain(compressions.map(|name| json!({ "compression": name })))
            .map(|options| choice(options, json!({}))),
    );
    all
}

fn from(exchange: &str, routing_key: &str, priority: u8) -> Value {
    json!({ "exchange": exchange, "routing_key": routing_key, "priority": priority, "redelivered": false })
}

/// The request of a call without options. A call by name does not say whether the result is stored.
fn plain(pair: &Pair, id: &str) -> Value {
    let ignore = if pair.producer == Side::Python { json!(false) } else { json!(null) };
    json!({
        "id": id, "root_id": id, "parent_id": null, "group": null, "group_index": null, "retries": 0, "eta": null,
        "expires": null, "timelimit": [null, null], "shadow": null, "correlation_id": id, "stamped_headers": null,
        "stamps": {}, "ignore_result": ignore, "delivery_info": from("", "celery", 0), "headers": null, "argsrepr": "()",
        "kwargsrepr": "{}",
    })
}

/// Removes what differs between calls: the origin and the reply address. Both must be there.
fn remove_sender(seen: &mut Value, replies: bool) {
    let seen = seen.as_object_mut().unwrap();
    let origin = seen.remove("origin").unwrap();
    let (process, host) = origin.as_str().unwrap().split_once('@').unwrap();
    assert!(process.strip_prefix("gen").unwrap().parse::<u32>().is_ok() && !host.is_empty(), "{origin}");
    if !replies {
        let reply_to = seen.remove("reply_to").unwrap();
        assert_eq!(reply_to.as_str().unwrap().len(), 36, "{reply_to}");
    }
}

on_every_pair! {
    async fn the_options_of_a_call_arrive(pair: &Pair) {
        let choices = choices();
        let mut sent = Vec::new();
        for choice in &choices {
            sent.push(pair.call("tasks.whoami", json!([]), json!({}), choice.options.clone()).await);
        }
        for (choice, id) in choices.iter().zip(&sent) {
            let mut seen = pair.get(id).await.success().clone();
            remove_sender(&mut seen, choice.options.get("reply_to").is_some());
            let mut expected = plain(pair, id);
            for (name, value) in choice.seen.as_object().unwrap() {
                expected[name] = value.clone();
            }
            assert_eq!(seen, expected, "{}", choice.options);
        }
    }

    async fn a_given_id_is_used_everywhere(pair: &Pair) {
        let id = format!("my-{:?}-{:?}", pair.producer, pair.worker);
        assert_eq!(pair.call("tasks.whoami", json!([]), json!({}), json!({ "task_id": id })).await, id);
        let mut seen = pair.get(&id).await.success().clone();
        remove_sender(&mut seen, false);
        assert_eq!(seen, plain(pair, &id));
    }

    async fn durations_become_instants_in_utc(pair: &Pair) {
        let options = json!({ "countdown": 0.5, "expires": 60 });
        let before = Clock::system().now();
        let id = pair.call("tasks.whoami", json!([]), json!({}), options).await;
        let seen = pair.get(&id).await.success().clone();
        let done = Clock::system().now();
        let read = |name: &str| {
            let text = seen[name].as_str().unwrap();
            assert!(text.ends_with("+00:00"), "{text}");
            timestamp::parse(text).unwrap()
        };
        assert!(read("eta") >= before + Duration::from_millis(499), "{seen}");
        assert!(read("eta") <= done, "it ran after its eta: {seen}");
        let (least, most) = (before + Duration::from_millis(59_999), done + Duration::from_secs(60));
        assert!((least..=most).contains(&read("expires")), "{seen}");
    }

}
