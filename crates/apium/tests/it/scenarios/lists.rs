//! The lists of Redis: their elements, and the order in which workers claim them.

use apium::message::base64;
use apium::worker::StopKind;
use apium_peers::redis::Commands;
use serde_json::{Value, json};

use crate::fixture::{Fixture, records};
use crate::live::{entered, live, open_gate, start, stop};
use crate::scenarios::ends::shutdown::gated;

/// The headers of a plain call that do not depend on who sends it.
fn plain_headers(id: &Value) -> Value {
    json!({
        "lang": "py", "task": "lab.add", "id": id, "root_id": id, "parent_id": null, "retries": 0, "eta": null, "expires": null,
        "group": null, "group_index": null, "shadow": null, "timelimit": [null, null], "argsrepr": "(2, 2)",
        "kwargsrepr": "{}", "ignore_result": null, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {},
    })
}

#[tokio::test]
async fn a_plain_call_is_stored_in_redis_as_celery_writes_it() {
    let fixture = Fixture::redis();
    let Fixture::Redis(database, _) = &fixture else { unreachable!("the fixture is Redis") };
    let app = live(&fixture).build().await.unwrap();
    let sent = app.sig("lab.add").args((2, 2)).send().await.unwrap();

    let mut connection = database.connection();
    assert_eq!(connection.llen::<_, usize>("celery").unwrap(), 1);
    let element: String = connection.lindex("celery", 0).unwrap();
    let mut element: Value = serde_json::from_str(&element).unwrap();
    assert_eq!((&element["content-type"], &element["content-encoding"]), (&json!("application/json"), &json!("utf-8")));
    let body = base64::decode(element["body"].as_str().unwrap()).unwrap();
    let expected = r#"[[2, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;
    assert_eq!(String::from_utf8(body).unwrap(), expected, "byte for byte");

    let id = json!(sent.id().as_str());
    let origin = element["headers"].as_object_mut().unwrap().remove("origin").unwrap();
    let (process, host) = origin.as_str().unwrap().split_once('@').unwrap();
    assert_eq!((process, host.is_empty()), (&*format!("gen{}", std::process::id()), false));
    assert_eq!(element["headers"], plain_headers(&id));

    let properties = element["properties"].as_object_mut().unwrap();
    for random in ["delivery_tag", "reply_to"] {
        let value = properties.remove(random).unwrap();
        assert_eq!(value.as_str().unwrap().len(), 36, "{random} is {value}");
    }
    let expected = json!({
        "correlation_id": id, "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": { "exchange": "", "routing_key": "celery" },
    });
    assert_eq!(element["properties"], expected);
    let bound: Vec<String> = connection.smembers("_kombu.binding.celery").unwrap();
    assert_eq!(bound, ["celery\x06\x16\x06\x16celery"]);
}

#[tokio::test]
async fn priorities_have_their_own_lists_and_lower_ones_are_claimed_first() {
    let fixture = Fixture::redis();
    let Fixture::Redis(database, _) = &fixture else { unreachable!("the fixture is Redis") };
    let builder = live(&fixture).setting("task_acks_late", true).setting("worker_prefetch_multiplier", 1);
    let app = builder.setting("task_default_queue", "prio").register::<gated>().build().await.unwrap();
    for priority in (0..10_u8).rev() {
        gated::delay(priority.into()).priority(priority).send(&app).await.unwrap();
    }
    let mut connection = database.connection();
    for (list, length) in [("prio", 3), ("prio\x06\x163", 3), ("prio\x06\x166", 3), ("prio\x06\x169", 1)] {
        assert_eq!(connection.llen::<_, usize>(list).unwrap(), length, "{list:?}");
    }

    let worker = start(&app, 1).await;
    open_gate(&app, 10);
    entered(&app, 10).await;
    stop(worker, StopKind::Warm).await;
    // Within a list they are claimed in the order in which they were sent.
    assert_eq!(records(&app), ["2", "1", "0", "5", "4", "3", "8", "7", "6", "9"]);
}
