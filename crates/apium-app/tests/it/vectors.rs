//! Calls become the messages that Celery 5.7 sends: same headers, properties and body, whatever the order.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::builder::AppBuilder;
use apium_app::call::call::Call;
use apium_app::signature::signature::Signature;
use apium_app::task::arguments::Arguments;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_transport::broker::outgoing::Outgoing;
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use crate::kit::{self, Add, Sent};

struct Captured {
    message: Value,
}

impl Captured {
    fn read(name: &str) -> Self {
        let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        Self { message: vector["amqp"][0].clone() }
    }

    fn id(&self) -> &str {
        self.message["headers"]["id"].as_str().unwrap()
    }

    fn check(&self, sent: &Outgoing, name: &str) {
        assert_eq!(&*sent.exchange, self.message["exchange"].as_str().unwrap(), "{name}: exchange");
        assert_eq!(&*sent.routing_key, self.message["routing_key"].as_str().unwrap(), "{name}: routing key");
        let mut headers = Headers::from_json(self.message["headers"].to_string().as_bytes()).unwrap();
        assert!(sent.message.headers.origin.as_deref().unwrap().starts_with("gen"));
        headers.origin.clone_from(&sent.message.headers.origin);
        assert_eq!(value(&sent.message.headers.to_json()), value(&headers.to_json()), "{name}: headers");
        let mut properties = Properties::from_json(self.message["properties"].to_string().as_bytes()).unwrap();
        // A missing priority is zero.
        properties.priority = properties.priority.or(Some(0));
        if properties.reply_to.as_deref() == Some("0b6a5f3e-0000-3000-8000-000000000001") {
            properties.reply_to.clone_from(&sent.message.properties.reply_to);
            assert_eq!(properties.reply_to.as_deref().unwrap().len(), 36);
        }
        assert_eq!(sent.message.properties, properties, "{name}: properties");
        if let Some(body) = self.message["body"]["utf8"].as_str()
            && properties.content_type.as_deref() == Some("application/json")
        {
            assert_eq!(value(&sent.message.body), value(body.as_bytes()), "{name}: body");
        }
    }
}

/// A builder whose calls without a priority have Celery's 0, as with a broker that Celery reads.
fn builder() -> AppBuilder {
    kit::builder().setting("task_default_priority", 0)
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

async fn check(app: &App, sent: &Sent, name: &str, shape: impl FnOnce(Call<i64>) -> Call<i64>) {
    let captured = Captured::read(name);
    let signature = Add::s(2, 3);
    shape(signature.call()).task_id(captured.id()).send(app).await.unwrap();
    captured.check(&sent.one(), name);
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn guide_0_66_delay_is_celerys_message() {
    let (app, sent) = kit::app_of(builder()).await;
    check(&app, &sent, "task_delay", |call| call).await;
}

#[tokio::test]
async fn guide_0_68_to_0_71_countdown_eta_and_expires() {
    let (app, sent) = kit::app_of(builder()).await;
    check(&app, &sent, "task_countdown", |call| call.countdown(Duration::from_secs(10))).await;
    check(&app, &sent, "task_eta_aware", |call| call.eta(time("2030-01-02T04:04:05.678902Z"))).await;
    let zoned: Zoned = "2030-06-01T12:00:00+05:30[+05:30]".parse().unwrap();
    check(&app, &sent, "task_eta_offset", |call| call.eta(zoned)).await;
    check(&app, &sent, "task_expires_seconds", |call| call.expires_in(Duration::from_secs(60))).await;
    check(&app, &sent, "task_expires_datetime", |call| call.expires(time("2030-01-02T03:06:05.678901Z"))).await;
}

#[tokio::test]
async fn times_are_written_in_the_apps_zone() {
    let (app, sent) = kit::app_of(builder().setting("timezone", "Europe/Oslo")).await;
    check(&app, &sent, "task_countdown_tz", |call| call.countdown(Duration::from_secs(10))).await;
    let builder = builder().setting("timezone", "America/New_York").setting("enable_utc", false);
    let (app, sent) = kit::app_of(builder).await;
    check(&app, &sent, "task_countdown_no_utc", |call| call.countdown(Duration::from_secs(10))).await;
}

#[tokio::test]
async fn guide_0_78_and_further_options_have_their_place() {
    let (app, sent) = kit::app_of(builder()).await;
    for priority in [0, 2, 3, 5, 6, 9] {
        check(&app, &sent, &format!("task_priority_{priority}"), |call| call.priority(priority)).await;
    }
    check(&app, &sent, "task_priority", |call| call.priority(7)).await;
    check(&app, &sent, "task_shadow", |call| call.shadow("my.shadow")).await;
    check(&app, &sent, "task_ignore_result", |call| call.ignore_result(true)).await;
    check(&app, &sent, "task_delivery_transient", |call| call.persistent(false)).await;
    check(&app, &sent, "task_queue", |call| call.queue("images")).await;
    check(&app, &sent, "task_reply_to_custom", |call| call.reply_to("my-replies")).await;
    check(&app, &sent, "task_root_parent", |call| {
        call.root_id("d0d0d0d0-0000-4000-8000-000000000900").parent_id("d0d0d0d0-0000-4000-8000-000000000901")
    })
    .await;
    check(&app, &sent, "task_props_extra", |call| {
        call.property("app_id", "x").property("message_id", "m-1").property("type", "t")
    })
    .await;
    check(&app, &sent, "task_headers", |call| {
        call.header("x-trace", "abc")
            .header("nested", json!({"a": [1, null]}))
            .header("flag", true)
            .header("f", 1.5)
            .header("big", 1_i64 << 40)
    })
    .await;
    check(&app, &sent, "stamps_simple", |call| call.stamp("mystamp", "value")).await;
    check(&app, &sent, "stamps_list", |call| call.stamp("tags", ["a", "b"])).await;
}

#[tokio::test]
async fn scenario_2_the_header_timelimit_has_the_hard_limit_first() {
    let (app, sent) = kit::app_of(builder()).await;
    check(&app, &sent, "task_time_limits", |call| {
        call.time_limit(Duration::from_secs(30)).soft_time_limit(Duration::from_millis(20_500))
    })
    .await;
}

#[tokio::test]
async fn guide_0_72_links_travel_with_the_message() {
    let (app, sent) = kit::app_of(builder()).await;
    let mul = |args: Value, immutable| {
        let mut signature = WireSignature::new("tasks.mul");
        signature.args = args.as_array().unwrap().iter().map(|arg| arg.clone().into()).collect();
        signature.immutable = immutable;
        signature
    };
    check(&app, &sent, "task_link", |call| call.link(mul(json!([4]), false))).await;
    check(&app, &sent, "task_link_multi", |call| call.link(mul(json!([4]), false)).link(mul(json!([5, 6]), true)))
        .await;
    // A typed signature links the same.
    let (captured, typed) =
        (Captured::read("task_link"), Signature::<(), i64>::new("tasks.mul", arguments(json!([4]))));
    Add::s(2, 3).link(typed).call().task_id(captured.id()).send(&app).await.unwrap();
    captured.check(&sent.one(), "task_link");
}

#[tokio::test]
async fn guide_0_73_link_error_travels_with_the_message() {
    let (app, sent) = kit::app_of(builder()).await;
    let captured = Captured::read("task_link_error");
    let body: Value = serde_json::from_str(captured.message["body"]["utf8"].as_str().unwrap()).unwrap();
    let errback = WireSignature::from_json(body[2]["errbacks"][0].to_string().as_bytes()).unwrap();
    let name = captured.message["headers"]["task"].as_str().unwrap().to_owned();
    let call = Signature::<(), i64>::new(name, arguments(body[0].clone())).call().ignore_result(false);
    call.link_error(errback).task_id(captured.id()).send(&app).await.unwrap();
    captured.check(&sent.one(), "task_link_error");
}

fn arguments(args: Value) -> apium_app::error::Result<Arguments> {
    let args = args.as_array().unwrap().iter().map(|arg| arg.clone().into()).collect();
    Ok(Arguments::new(args, Vec::new()))
}

#[tokio::test]
async fn feature_2_1_28_a_call_by_name_sends_no_ignore_result() {
    let (app, sent) = kit::app_of(builder()).await;
    let captured = Captured::read("task_send_task");
    let name = captured.message["headers"]["task"].as_str().unwrap();
    let call = app.sig(name).args((2,)).kwarg("k", "v").call();
    call.task_id(captured.id()).send(&app).await.unwrap();
    captured.check(&sent.one(), "task_send_task");
}

#[tokio::test]
async fn topic_queues_are_reached_through_their_exchange() {
    let table = |entries: Vec<(&str, &str)>| {
        let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        apium_app::config::value::Value::Table(entries.collect())
    };
    let video = table(vec![("exchange", "media"), ("exchange_type", "topic"), ("routing_key", "video.hd")]);
    let queues = vec![("video.hd".to_owned(), video), ("celery".to_owned(), table(vec![]))];
    let queues = apium_app::config::value::Value::Table(queues);
    let (app, sent) = kit::app_of(builder().setting("task_queues", queues)).await;
    check(&app, &sent, "task_topic_queue", |call| call.queue("video.hd")).await;
    check(&app, &sent, "task_topic_exchange_rkey", |call| call.exchange("media").routing_key("video.hd")).await;
}

#[tokio::test]
async fn guide_0_11_and_0_18_serializers_and_compressions_by_name() {
    let (app, sent) = kit::app_of(builder()).await;
    for (name, serializer, compression) in [
        ("serializer_json", "json", ""),
        ("serializer_msgpack", "msgpack", ""),
        ("serializer_yaml", "yaml", ""),
        ("compression_gzip", "json", "gzip"),
        ("compression_bzip2", "json", "bzip2"),
        ("compression_lzma", "json", "lzma"),
        ("compression_brotli", "json", "brotli"),
        ("compression_zstd", "json", "zstd"),
        ("compression_msgpack_gzip", "msgpack", "zlib"),
    ] {
        let captured = Captured::read(name);
        let text = "A".repeat(200);
        let call = app.sig("tasks.echo");
        let call = if name.starts_with("serializer") {
            call.args((json!([1, "two", null, 3.5, {"k": [true, false]}]),)).kwarg("z", "café")
        } else {
            call.args((text,))
        };
        let call = call.call().ignore_result(false).serializer(serializer).compression(compression);
        call.task_id(captured.id()).send(&app).await.unwrap();
        let mut outgoing = sent.one();
        if name == "compression_msgpack_gzip" {
            // This one was captured with other arguments.
            outgoing.message.headers.argsrepr = Some(captured.message["headers"]["argsrepr"].as_str().unwrap().into());
        }
        captured.check(&outgoing, name);
    }
    let error = app.sig("tasks.echo").call().serializer("pickle").send(&app).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("pickle"), "{error}");
}

#[tokio::test]
async fn a_call_may_give_its_argsrepr() {
    let (app, sent) = kit::app_of(builder()).await;
    check(&app, &sent, "task_argsrepr_override", |call| call.argsrepr("(***)").kwargsrepr("{secret}")).await;
}
