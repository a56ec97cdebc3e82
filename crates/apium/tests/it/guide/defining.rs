//! Rows 0.01–0.18: a function becomes a task, and what its options do.

use std::time::Duration;

use apium::message::{Compression, Serializer, Value};
use apium::prelude::*;

use crate::fixture::{PATIENCE, Records, only, records, settings_of};
use crate::gate::{Gate, gated};

#[task]
async fn create_user(username: String, password: String) -> TaskResult<String> {
    Ok(format!("{username}:{}", password.len()))
}

#[task(name = "guide.options", serializer = "yaml", priority = 3)]
async fn with_options(x: i64) -> TaskResult<i64> {
    Ok(x)
}

#[task(name = "guide.decorated")]
#[inline(never)]
#[cfg_attr(doc, doc(hidden))]
async fn decorated(x: i64) -> TaskResult<i64> {
    Ok(x + 1)
}

#[task(name = "guide.named", aliases = ["guide.old_name"])]
async fn named(x: i64) -> TaskResult<i64> {
    Ok(x * 10)
}

#[task(name = "guide.stored_elsewhere", backend = "memory://stored-elsewhere")]
async fn stored_elsewhere(x: i64) -> TaskResult<i64> {
    Ok(x)
}

#[task(name = "guide.late", acks_late)]
async fn late(ctx: &Ctx, State(records): State<Records>) -> TaskResult<()> {
    records.add(format!("late {}", ctx.request().retries()));
    Ok(())
}

#[task(name = "guide.tracked", track_started)]
pub(crate) async fn tracked(State(gate): State<Gate>) -> TaskResult<i64> {
    gate.pass().await;
    Ok(1)
}

#[task(name = "guide.limited", rate_limit = "100/m")]
async fn limited(State(records): State<Records>, n: i64) -> TaskResult<i64> {
    records.add(n.to_string());
    Ok(n)
}

#[task(name = "guide.bound")]
async fn bound(ctx: &Ctx, x: i64) -> TaskResult<(String, i64)> {
    Ok((ctx.task_name().to_owned(), x))
}

#[derive(Debug)]
struct Expected;

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("as expected")
    }
}

impl std::error::Error for Expected {}

#[task(name = "guide.throws", throws(Expected))]
async fn throws() -> TaskResult<()> {
    Err(Expected)?;
    Ok(())
}

#[task(name = "guide.unexpected")]
async fn unexpected() -> TaskResult<()> {
    Err(Expected)?;
    Ok(())
}

#[task(name = "guide.hard", time_limit = "2s")]
async fn hard(State(gate): State<Gate>) -> TaskResult<()> {
    gate.enter();
    std::future::pending::<()>().await;
    Ok(())
}

#[task(name = "guide.soft", soft_time_limit = "2s")]
async fn soft(ctx: &Ctx, State(gate): State<Gate>) -> TaskResult<String> {
    gate.enter();
    ctx.soft_limit().wait().await;
    Ok("cleaned up".to_owned())
}

#[task(name = "guide.soft_uncaught", soft_time_limit = "2s")]
async fn soft_uncaught(State(gate): State<Gate>) -> TaskResult<()> {
    gate.enter();
    std::future::pending::<()>().await;
    Ok(())
}

#[task(name = "guide.ignored", ignore_result)]
async fn ignored(fail: bool) -> TaskResult<i64> {
    if fail { Err(TaskError::failure("ignored failure")) } else { Ok(5) }
}

#[task(name = "guide.ignored_but_errors", ignore_result, store_errors_even_if_ignored)]
async fn ignored_but_errors(fail: bool) -> TaskResult<i64> {
    if fail { Err(TaskError::failure("stored failure")) } else { Ok(5) }
}

#[task(name = "guide.squeezed", compression = "gzip")]
async fn squeezed(text: String) -> TaskResult<usize> {
    Ok(text.len())
}

/// A custom serializer: JSON with inverted bytes.
struct InvertedJson;

impl Serializer for InvertedJson {
    fn name(&self) -> &str {
        "turned"
    }

    fn content_type(&self) -> &str {
        "application/x-turned"
    }

    fn content_encoding(&self) -> &str {
        "binary"
    }

    fn encode(&self, value: &Value) -> apium::message::Result<Vec<u8>> {
        Ok(value.to_string().bytes().map(|b| !b).collect())
    }

    fn decode(&self, bytes: &[u8]) -> apium::message::Result<Value> {
        let text: Vec<u8> = bytes.iter().map(|b| !b).collect();
        Value::parse(&String::from_utf8_lossy(&text))
    }
}

/// A custom compression: each byte twice.
struct DoubledBytes;

impl Compression for DoubledBytes {
    fn names(&self) -> &[&str] {
        &["doubled"]
    }

    fn mime(&self) -> &str {
        "application/x-doubled"
    }

    fn compress(&self, bytes: &[u8]) -> apium::message::Result<Vec<u8>> {
        Ok(bytes.iter().flat_map(|b| [*b, *b]).collect())
    }

    fn decompress(&self, bytes: &[u8], _limit: usize) -> apium::message::Result<Vec<u8>> {
        Ok(bytes.iter().step_by(2).copied().collect())
    }
}

on_every_driver! {
    async fn guide_0_01_a_function_becomes_a_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = create_user::delay("ann".into(), "secret".into()).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), "ann:6");
        assert!(app.registry().get(create_user::NAME).is_some());
    }

    async fn guide_0_02_options_stand_in_the_attribute(fixture: &Fixture) {
        let app = fixture.app(&[("accept_content", "json,yaml")]).await;
        let result = with_options::delay(4).send(&app).await.unwrap();
        let message = only(&app).await;
        assert_eq!(message.properties.content_type.as_deref(), Some("application/x-yaml"));
        assert_eq!(message.properties.priority, Some(3));
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 4);
    }

    async fn guide_0_03_the_attribute_stands_before_others(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = decorated::delay(1).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), 2);
        assert_eq!(decorated(1).await.unwrap(), 2);
    }

    async fn guide_0_04_a_task_is_shared_by_several_apps(fixture: &Fixture) {
        let one = fixture.app(&[]).await;
        let two = fixture.builder_at(fixture.other_url());
        let two = two.build().await.unwrap();
        let (first, second) = (named::delay(1).send(&one).await.unwrap(), named::delay(2).send(&two).await.unwrap());
        one.drain().await;
        two.drain().await;
        assert_eq!((first.get().await.unwrap(), second.get().await.unwrap()), (10, 20));
        assert_eq!(two.result::<i64>(first.id().clone()).state().await.unwrap(), TaskState::Pending);
    }

    async fn guide_0_05_the_name_is_given_or_made_of_the_module(fixture: &Fixture) {
        assert_eq!(named::NAME, "guide.named");
        assert_eq!(create_user::NAME, "it.guide.defining.create_user");
        let app = fixture.app(&[]).await;
        create_user::delay("a".into(), "b".into()).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.task.as_deref(), Some("it.guide.defining.create_user"));
        app.drain().await;
        let by_alias = app.sig("guide.old_name").args((3,)).send().await.unwrap();
        app.drain().await;
        assert_eq!(by_alias.get().await.unwrap().decode::<i64>().unwrap(), 30);
    }

    async fn guide_0_06_a_task_has_a_result_backend_of_its_own(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = stored_elsewhere::delay(7).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 7);
        let ids = [result.id().clone()];
        assert_eq!(app.backend().unwrap().stored().unwrap().fetch(&ids).await.unwrap(), [None]);
    }

    async fn guide_0_07_acks_late_is_after_the_run_and_early_before(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert!(app.registry().get("guide.late").unwrap().effective.acks_late);
        assert!(!app.registry().get("guide.tracked").unwrap().effective.acks_late);
        let by_setting = fixture.app(&[("task_acks_late", "true")]).await;
        assert!(by_setting.registry().get("guide.tracked").unwrap().effective.acks_late);
        for (acks_late, unacked) in [(true, 1), (false, 0)] {
            let in_flight = crate::gate::unacked_while_running(fixture, acks_late).await;
            assert_eq!(in_flight, unacked, "acks_late = {acks_late}");
        }
    }

    async fn guide_0_08_track_started_stores_process_and_host(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let worker = app.worker().concurrency(2).start().await.unwrap();
        let result = tracked::delay().send(&app).await.unwrap();
        let untracked = gated::delay(1).send(&app).await.unwrap();
        gate.entered(2).await;
        let started = result.document().await.unwrap().expect("STARTED is stored before the run");
        assert_eq!(started.state, TaskState::Started);
        let info = started.result.to_value().unwrap();
        assert_eq!(info.get("pid").and_then(Value::as_i64), Some(i64::from(std::process::id())));
        assert!(info.get("hostname").and_then(Value::as_str).is_some_and(|name| name.contains('@')));
        assert_eq!(untracked.document().await.unwrap(), None);
        gate.open(2);
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 1);
        worker.stop().await;
    }

    async fn guide_0_09_rate_limit_spaces_starts(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        limited::batch((0..3).map(|n| (n,))).send_all(&app).await.unwrap();
        app.drain().await;
        assert_eq!(records(&app), ["0"], "the first starts at once");
        app.advance(Duration::from_millis(599)).await;
        assert_eq!(records(&app), [""; 0], "100/m is 600 ms between two starts");
        app.advance(Duration::from_millis(1)).await;
        assert_eq!(records(&app), ["1"]);
        app.advance(Duration::from_millis(600)).await;
        assert_eq!(records(&app), ["2"]);
    }

    async fn guide_0_10_a_bound_task_takes_its_context(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = bound::delay(3).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap(), ("guide.bound".to_owned(), 3));
    }

    async fn guide_0_11_serializers_are_built_in_or_ones_own(fixture: &Fixture) {
        let accept = settings_of(&[("accept_content", "json,yaml,msgpack,turned")]);
        let builder = fixture.builder().with(|app| app.config(accept).serializer(InvertedJson));
        let app = builder.build().await.unwrap();
        let types = [
            ("json", "application/json"),
            ("yaml", "application/x-yaml"),
            ("msgpack", "application/x-msgpack"),
            ("turned", "application/x-turned"),
        ];
        for (name, content_type) in types {
            let result = named::delay(5).serializer(name).send(&app).await.unwrap();
            assert_eq!(only(&app).await.properties.content_type.as_deref(), Some(content_type));
            app.drain().await;
            assert_eq!(result.get().await.unwrap(), 50, "{name}");
        }
        let refused = named::delay(5).serializer("pickle").send(&app).await.unwrap_err();
        assert!(refused.to_string().contains("pickle"), "{refused}");
    }

    async fn guide_0_12_the_request_belongs_to_the_current_run(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let ids = ["first", "second"];
        for id in ids {
            crate::guide::request::whoami::delay(None, None).task_id(id).send(&app).await.unwrap();
        }
        app.drain().await;
        for id in ids {
            let seen = app.result::<Value>(id).get().await.unwrap();
            assert_eq!(seen.get("id").and_then(Value::as_str), Some(id));
        }
    }

    async fn guide_0_13_expected_errors_are_stored_and_logged_quietly(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (call, level) in [(throws::delay(), "INFO"), (unexpected::delay(), "ERROR")] {
            let result = call.send(&app).await.unwrap();
            let log = crate::recorded_log::record(async { assert_eq!(app.drain().await, 1) }).await;
            let error = result.get().await.unwrap_err();
            assert_eq!(error.failure().unwrap().exception().exc_type, "Expected");
            assert_eq!(result.state().await.unwrap(), TaskState::Failure);
            let id = result.id().as_str();
            let line = log.iter().find(|line| line.text.contains("raised") && line.text.contains(id));
            assert_eq!(line.unwrap_or_else(|| panic!("the failure is logged: {log:?}")).level, level);
        }
    }

    async fn guide_0_14_the_hard_limit_ends_the_run(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let worker = app.worker().concurrency(1).start().await.unwrap();
        let result = hard::delay().send(&app).await.unwrap();
        gate.entered(1).await;
        app.clock().advance(Duration::from_millis(1900));
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);
        app.clock().advance(Duration::from_millis(200));
        let error = result.get().timeout(PATIENCE).await.unwrap_err();
        assert_eq!(error.failure().unwrap().exception().exc_type, "TimeLimitExceeded");
        worker.stop().await;
    }

    async fn guide_0_15_the_soft_limit_can_be_caught(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let worker = app.worker().concurrency(2).start().await.unwrap();
        let caught = soft::delay().send(&app).await.unwrap();
        let uncaught = soft_uncaught::delay().send(&app).await.unwrap();
        gate.entered(2).await;
        app.clock().advance(Duration::from_millis(1900));
        assert_eq!(caught.state().await.unwrap(), TaskState::Pending);
        app.clock().advance(Duration::from_millis(200));
        assert_eq!(caught.get().timeout(PATIENCE).await.unwrap(), "cleaned up");
        let error = uncaught.get().timeout(PATIENCE).await.unwrap_err();
        assert_eq!(error.failure().unwrap().exception().exc_type, "SoftTimeLimitExceeded");
        worker.stop().await;
    }

    async fn guide_0_16_an_ignored_result_is_not_stored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let (ok, failed) = (ignored::delay(false).send(&app).await.unwrap(), ignored::delay(true).send(&app).await.unwrap());
        let stored = ignored::delay(false).ignore_result(false).send(&app).await.unwrap();
        app.drain().await;
        for result in [&ok, &failed] {
            assert_eq!(app.result::<i64>(result.id().clone()).state().await.unwrap(), TaskState::Pending);
            assert!(!result.exists().await.unwrap());
        }
        assert_eq!(stored.get().await.unwrap(), 5, "a call may decide otherwise");
        let by_setting = fixture.app(&[("task_ignore_result", "true")]).await;
        let result = named::delay(1).send(&by_setting).await.unwrap();
        by_setting.drain().await;
        assert!(!result.exists().await.unwrap());
    }

    async fn guide_0_17_errors_are_stored_even_if_ignored(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let ok = ignored_but_errors::delay(false).send(&app).await.unwrap();
        let failed = ignored_but_errors::delay(true).send(&app).await.unwrap();
        app.drain().await;
        assert!(!ok.exists().await.unwrap());
        let failed = app.result::<i64>(failed.id().clone());
        assert_eq!(failed.state().await.unwrap(), TaskState::Failure);
    }

    async fn guide_0_18_the_body_is_compressed(fixture: &Fixture) {
        let app = fixture.builder().with(|app| app.compression(DoubledBytes)).build().await.unwrap();
        let text = "word ".repeat(1000);
        let by_task = squeezed::delay(text.clone()).send(&app).await.unwrap();
        let message = only(&app).await;
        assert_eq!(message.headers.compression.as_deref(), Some("application/x-gzip"));
        assert!(message.body.len() < text.len() / 10);
        assert_eq!(message.body[0] & 0x0f, 8, "zlib framing, like Celery's gzip");
        app.drain().await;
        assert_eq!(by_task.get().await.unwrap(), text.len());
        for name in ["bzip2", "zstd", "lzma", "brotli", "doubled"] {
            let result = squeezed::delay(text.clone()).compression(name).send(&app).await.unwrap();
            assert!(only(&app).await.headers.compression.is_some(), "{name}");
            app.drain().await;
            assert_eq!(result.get().await.unwrap(), text.len(), "{name}");
        }
    }
}
