//! Rows 0.30–0.50: what a task knows about its run.

use std::time::Duration;

use apium::message::{Json, Message, Signature as WireSignature, Value};
use apium::prelude::*;
use apium::task::{DeliveryInfo, NextRun, Request};
use apium::testing::TestApp;

use crate::fixture::{PATIENCE, Records, only};

/// Rejects its message once, then returns whether the message is marked as redelivered.
#[task(name = "guide.sent_back", acks_late)]
async fn sent_back(ctx: &Ctx, State(records): State<Records>) -> TaskResult<bool> {
    if records.take().is_empty() {
        records.add("first");
        return Err(TaskError::reject(true));
    }
    Ok(ctx.request().delivery_info.redelivered)
}

type AboutTheRun = (Option<String>, u32, Option<u32>, bool, bool);

fn about(ctx: &Ctx) -> AboutTheRun {
    let id = ctx.id().map(ToString::to_string);
    (id, ctx.retries(), ctx.max_retries(), ctx.is_eager(), ctx.called_directly())
}

#[task(name = "guide.about_the_run", max_retries = 5)]
async fn about_the_run(ctx: &Ctx) -> TaskResult<AboutTheRun> {
    match ctx.retries() {
        0 => Err(ctx.retry().countdown(Duration::ZERO).into()),
        _ => Ok(about(ctx)),
    }
}

/// Everything about the run, as one map.
#[task(name = "guide.whoami")]
pub(crate) async fn whoami(ctx: &Ctx, #[default] x: Option<i64>, #[default] y: Option<i64>) -> TaskResult<Value> {
    let (r, _) = (ctx.request(), (x, y));
    let h = &r.headers;
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let number = |number: Option<f64>| number.map_or(Value::Null, Value::from);
    let list = |values: &[Json]| Value::List(values.iter().map(|v| v.to_value().unwrap()).collect());
    let map = |values: &[(String, Json)]| {
        Value::Map(values.iter().map(|(name, v)| (name.clone(), v.to_value().unwrap())).collect())
    };
    let names = |all: &Option<Vec<WireSignature>>| {
        Value::List(all.iter().flatten().map(|signature| Value::from(&*signature.task)).collect())
    };
    let custom = h.extra.iter().map(|(name, v)| (name.clone(), v.to_value().unwrap())).collect();
    Ok(Value::Map(vec![
        ("id".into(), text(h.id.as_ref().map(|id| id.as_str()))),
        ("group".into(), text(h.group.as_deref())),
        ("group_index".into(), h.group_index.map_or(Value::Null, Value::from)),
        ("correlation_id".into(), text(r.properties.correlation_id.as_deref())),
        ("args".into(), list(&r.body.args)),
        ("kwargs".into(), map(&r.body.kwargs)),
        ("origin".into(), text(h.origin.as_deref())),
        ("retries".into(), Value::from(i64::from(h.retries))),
        ("is_eager".into(), Value::from(r.is_eager)),
        ("called_directly".into(), Value::from(r.called_directly)),
        ("expires".into(), text(h.expires.as_deref())),
        ("hostname".into(), text(Some(&r.hostname))),
        ("routing_key".into(), text(Some(&r.delivery_info.routing_key))),
        ("exchange".into(), text(Some(&r.delivery_info.exchange))),
        ("priority".into(), r.delivery_info.priority.map_or(Value::Null, |p| Value::from(i64::from(p)))),
        ("redelivered".into(), Value::from(r.delivery_info.redelivered)),
        ("reply_to".into(), text(r.properties.reply_to.as_deref())),
        ("hard".into(), number(h.timelimit.hard)),
        ("soft".into(), number(h.timelimit.soft)),
        ("callbacks".into(), names(&r.body.embed.callbacks)),
        ("errbacks".into(), names(&r.body.embed.errbacks)),
        ("chain".into(), names(&r.body.embed.chain.as_ref().map(|steps| steps.signatures().unwrap()))),
        ("chord".into(), text(r.body.embed.chord.as_ref().map(|body| &*body.task))),
        ("utc".into(), Value::from(r.utc)),
        ("headers".into(), Value::Map(custom)),
        ("root_id".into(), text(h.root_id.as_ref().map(|id| id.as_str()))),
        ("parent_id".into(), text(h.parent_id.as_ref().map(|id| id.as_str()))),
    ]))
}

/// The body of a chord: what its header saw.
#[task(name = "guide.seen_all")]
async fn seen_all(all: Json) -> TaskResult<Json> {
    Ok(all)
}

#[task(name = "guide.parent")]
async fn parent(ctx: &Ctx) -> TaskResult<()> {
    let _ = ctx;
    whoami::delay(None, None).task_id("the-child").await?;
    Ok(())
}

#[task(name = "guide.retry_once")]
async fn retry_once(ctx: &Ctx) -> TaskResult<(u32, bool, Vec<String>)> {
    if ctx.request().retries() == 0 {
        return Err(ctx.retry().countdown(Duration::ZERO).into());
    }
    let chain = ctx.request().chain()?.iter().map(|signature| signature.task.to_string()).collect();
    Ok((ctx.request().retries(), ctx.request().delivery_info.redelivered, chain))
}

/// What a call of [`whoami`] returns.
async fn seen(app: &TestApp, call: Call<Value>) -> Value {
    let result = call.send(app).await.unwrap();
    app.drain().await;
    result.get().await.unwrap()
}

/// The request of the only message in the queue, and the request of its retry.
async fn read_and_echoed(app: &TestApp) -> [Request; 2] {
    let read = |message: Message| {
        let invocation = app.codecs().decode(&message, app.accept()).unwrap();
        Request::from_message(invocation.headers, message.properties, invocation.body, DeliveryInfo::default())
    };
    let request = read(only(app).await);
    let mut next = NextRun::default();
    next.retries = 1;
    let retried = app.publisher().retry_message(&request, &next).unwrap();
    [request, read(retried.message)]
}

fn names(signatures: &[WireSignature]) -> Vec<&str> {
    signatures.iter().map(|signature| &*signature.task).collect()
}

fn text<'a>(seen: &'a Value, key: &str) -> Option<&'a str> {
    seen.get(key).and_then(Value::as_str)
}

/// Returns its time limits in force, the hard one first.
#[task(name = "guide.without_limits")]
async fn unlimited(ctx: &Ctx) -> [Option<f64>; 2] {
    let limits = ctx.request().timelimit();
    [limits.hard, limits.soft]
}

#[task(name = "guide.limits_of_its_own", time_limit = 60, soft_time_limit = 45)]
async fn limited(ctx: &Ctx) -> [Option<f64>; 2] {
    let limits = ctx.request().timelimit();
    [limits.hard, limits.soft]
}

on_every_driver! {
    async fn guide_0_30_id(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(text(&seen(&app, whoami::delay(None, None).task_id("my id/1")).await, "id"), Some("my id/1"));
        let random = seen(&app, whoami::delay(None, None)).await;
        assert_eq!(text(&random, "id").unwrap().len(), 36);
    }

    async fn guide_0_31_group(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = group([whoami::s(None, None), whoami::s(None, None)]).send(&app).await.unwrap();
        app.drain().await;
        let all = sent.get().await.unwrap();
        assert_eq!(text(&all[0], "group"), Some(sent.id().as_str()));
        assert_eq!(text(&all[1], "group"), Some(sent.id().as_str()));
        assert_eq!(all[1].get("group_index").and_then(Value::as_i64), Some(1));
        assert_eq!(text(&seen(&app, whoami::delay(None, None)).await, "group"), None);
    }

    async fn guide_0_32_chord_is_the_signature_of_the_body(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let seen = |seen: &Value| text(seen, "chord").map(str::to_owned);
        let header = group([whoami::s(None, None), whoami::s(None, None)]);
        let result = (header | app.sig("guide.seen_all").signature()).send(&app).await.unwrap();
        app.drain().await;
        let all: Vec<Value> = result.get().timeout(PATIENCE).await.unwrap().decode().unwrap();
        assert!(all.iter().all(|one| seen(one).as_deref() == Some("guide.seen_all")), "{all:?}");
        let alone = crate::guide::request::seen(&app, whoami::delay(None, None)).await;
        assert_eq!(seen(&alone), None);
    }

    async fn guide_0_33_correlation_id(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(text(&seen(&app, whoami::delay(None, None).task_id("c-1")).await, "correlation_id"), Some("c-1"));
    }

    async fn guide_0_34_args_and_kwargs(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let call = app.sig("guide.whoami").args((1,)).kwarg("y", 2);
        let result = call.send().await.unwrap();
        app.drain().await;
        let seen = result.get().await.unwrap().to_value().unwrap();
        assert_eq!(seen.get("args").unwrap().to_string(), "[1]");
        assert_eq!(seen.get("kwargs").unwrap().to_string(), r#"{"y": 2}"#);
    }

    async fn guide_0_35_origin(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let seen = seen(&app, whoami::delay(None, None)).await;
        assert!(text(&seen, "origin").unwrap().starts_with(&format!("gen{}@", std::process::id())));
    }

    async fn guide_0_36_retries_count_from_zero(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(seen(&app, whoami::delay(None, None)).await.get("retries").and_then(Value::as_i64), Some(0));
        let result = retry_once::delay().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(result.get().await.unwrap().0, 1);
    }

    async fn the_context_answers_what_tasks_ask_most(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = about_the_run::delay().task_id("r-1").send(&app).await.unwrap();
        let eager = about_the_run::delay().task_id("r-2").apply(&app).await.unwrap();
        app.drain().await;
        let run = |id: &str, retries, is_eager| (Some(id.to_owned()), retries, Some(5), is_eager, false);
        assert_eq!(result.get().await.unwrap(), run("r-1", 1, false), "it ran twice");
        assert_eq!(eager.get().await.unwrap(), run("r-2", 1, true));
        assert_eq!(about(&Ctx::direct()), (None, 0, None, false, true));
    }

    async fn guide_0_37_is_eager(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let flag = |seen: &Value| seen.get("is_eager").and_then(Value::as_bool);
        assert_eq!(flag(&seen(&app, whoami::delay(None, None)).await), Some(false));
        let eager = whoami::delay(None, None).apply(&app).await.unwrap().get().await.unwrap();
        assert_eq!(flag(&eager), Some(true));
        let always = fixture.app(&[("task_always_eager", "true")]).await;
        let result = whoami::delay(None, None).send(&always).await.unwrap();
        assert_eq!(flag(&result.get().await.unwrap()), Some(true));
    }

    async fn guide_0_38_expires(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let seen = seen(&app, whoami::delay(None, None).expires_in(Duration::from_secs(60))).await;
        let at = apium::message::timestamp::parse(text(&seen, "expires").unwrap()).unwrap();
        let seconds = at.duration_since(app.clock().now()).as_secs();
        assert!((59..=60).contains(&seconds), "{seconds}");
    }

    async fn guide_0_39_hostname(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert!(text(&seen(&app, whoami::delay(None, None)).await, "hostname").unwrap().contains('@'));
    }

    async fn guide_0_40_delivery_info(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = whoami::delay(None, None).queue("side").priority(7).send(&app).await.unwrap();
        app.drain().await;
        let seen = result.get().await.unwrap();
        assert_eq!((text(&seen, "exchange"), text(&seen, "routing_key")), (Some(""), Some("side")));
        assert_eq!(seen.get("priority").and_then(Value::as_i64), Some(7));
        assert_eq!(seen.get("redelivered").and_then(Value::as_bool), Some(false));
        let redelivered = sent_back::delay().send(&app).await.unwrap();
        app.drain().await;
        assert!(redelivered.get().timeout(PATIENCE).await.unwrap(), "the second delivery says so");
    }

    async fn guide_0_41_reply_to(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(text(&seen(&app, whoami::delay(None, None)).await, "reply_to").unwrap().len(), 36);
        let own = whoami::delay(None, None).reply_to("my-replies");
        assert_eq!(text(&seen(&app, own).await, "reply_to"), Some("my-replies"));
    }

    async fn guide_0_42_called_directly(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let flag = |seen: &Value| seen.get("called_directly").and_then(Value::as_bool);
        assert_eq!(flag(&seen(&app, whoami::delay(None, None)).await), Some(false));
        assert_eq!(flag(&whoami(&Ctx::direct(), None, None).await.unwrap()), Some(true));
        let eager = whoami::delay(None, None).apply(&app).await.unwrap().get().await.unwrap();
        assert_eq!(flag(&eager), Some(false));
    }

    async fn guide_0_43_timelimit_is_two_named_fields(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let limited = || {
            whoami::delay(None, None).time_limit(Duration::from_secs(30)).soft_time_limit(Duration::from_secs(20))
        };
        let seen = seen(&app, limited()).await;
        assert_eq!(seen.get("hard").and_then(Value::as_f64), Some(30.0));
        assert_eq!(seen.get("soft").and_then(Value::as_f64), Some(20.0));
        limited().send(&app).await.unwrap();
        let headers: serde_json::Value = serde_json::from_slice(&only(&app).await.headers.to_json()).unwrap();
        assert_eq!(headers["timelimit"].to_string(), "[30,20]", "hard first on the wire");
    }

    async fn guide_0_43_timelimit_is_what_is_in_force(fixture: &Fixture) {
        let limits = |task: &str, call: Call<[Option<f64>; 2]>, settings: &'static [(&'static str, &'static str)]| {
            let task = task.to_owned();
            async move {
                let app = fixture.app(settings).await;
                let result = call.send(&app).await.unwrap();
                app.drain().await;
                (task, result.get().await.unwrap())
            }
        };
        let settings: &[(&str, &str)] = &[("task_time_limit", "100")];
        let half = || unlimited::delay().time_limit(Duration::from_secs(30));
        for (expected, found) in [
            ([None, None], limits("none", unlimited::delay(), &[]).await),
            ([Some(60.0), Some(45.0)], limits("the task's", limited::delay(), settings).await),
            ([Some(100.0), None], limits("the settings'", unlimited::delay(), settings).await),
            ([Some(30.0), None], limits("the call's", half(), &[]).await),
            ([Some(50.0), Some(45.0)], limits("both", limited::delay().time_limit(Duration::from_secs(50)), &[]).await),
        ] {
            assert_eq!(found.1, expected, "{}", found.0);
        }
    }

    async fn guide_0_44_callbacks_are_read_and_echoed(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let call = whoami::delay(None, None).link(app.sig("other.callback").signature());
        call.send(&app).await.unwrap();
        for request in read_and_echoed(&app).await {
            assert_eq!(names(request.callbacks()), ["other.callback"]);
        }
        app.drain().await;
        assert_eq!(app.sent_by_name("other.callback").len(), 1, "and it is sent on success");
    }

    async fn guide_0_45_errbacks_are_read_and_echoed(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let errbacks = ["other.one", "other.two"].map(|name| app.sig(name).signature());
        let call = errbacks.into_iter().fold(whoami::delay(None, None), |call, errback| call.link_error(errback));
        call.send(&app).await.unwrap();
        for request in read_and_echoed(&app).await {
            assert_eq!(names(request.errbacks()), ["other.one", "other.two"]);
        }
        app.drain().await;
        assert!(app.sent_by_name("other.one").is_empty(), "a success sends none");
        let failing = app.sig("guide.whoami").args(("no number",)).call().link_error(app.sig("other.one").signature());
        failing.send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(app.sent_by_name("other.one").len(), 1, "and a failure does");
    }

    async fn guide_0_46_utc(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert_eq!(seen(&app, whoami::delay(None, None)).await.get("utc").and_then(Value::as_bool), Some(true));
        let local = fixture.app(&[("enable_utc", "false")]).await;
        assert_eq!(seen(&local, whoami::delay(None, None)).await.get("utc").and_then(Value::as_bool), Some(false));
    }

    async fn guide_0_47_headers_are_the_callers_own(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let with = seen(&app, whoami::delay(None, None).header("tenant", "blue")).await;
        assert_eq!(with.get("headers").unwrap().to_string(), r#"{"tenant": "blue"}"#);
        assert_eq!(seen(&app, whoami::delay(None, None)).await.get("headers").unwrap().to_string(), "{}");
    }

    async fn guide_0_48_root_and_parent(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let alone = seen(&app, whoami::delay(None, None).task_id("alone")).await;
        assert_eq!((text(&alone, "root_id"), text(&alone, "parent_id")), (Some("alone"), None));
        parent::delay().task_id("the-parent").send(&app).await.unwrap();
        app.drain().await;
        let child = app.result::<Value>("the-child").get().await.unwrap();
        assert_eq!((text(&child, "root_id"), text(&child, "parent_id")), (Some("the-parent"), Some("the-parent")));
        let children = app.result::<()>("the-parent").children().await.unwrap().unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!(children[0].id.as_str(), "the-child");
    }

    async fn guide_0_49_chain_is_reversed_and_echoed(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let next = ["the.last", "the.next"].map(|name| app.sig(name).signature().to_wire().unwrap());
        let mut first = whoami::s(None, None);
        first.options_mut().rare_mut().chain = Some(next.into_iter().collect());
        first.send(&app).await.unwrap();
        for request in read_and_echoed(&app).await {
            assert_eq!(names(&request.chain().unwrap()), ["the.last", "the.next"], "the next step is the last element");
        }
        let steps = whoami::s(None, None) | app.sig("guide.seen_all").signature() | app.sig("guide.seen_all").signature();
        app.broker().queues().unwrap().purge("celery").await.unwrap();
        let result = steps.send(&app).await.unwrap();
        app.drain().await;
        let seen = result.get().timeout(PATIENCE).await.unwrap().to_value().unwrap();
        assert_eq!(seen.get("chain").unwrap().to_string(), r#"["guide.seen_all", "guide.seen_all"]"#, "and it runs");
    }

    async fn guide_0_50_a_task_dumps_its_context(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let seen = seen(&app, whoami::delay(Some(1), Some(2)).task_id("dump")).await;
        assert_eq!(text(&seen, "id"), Some("dump"));
        assert_eq!(seen.get("args").unwrap().to_string(), "[1, 2]");
        assert_eq!(seen.get("kwargs").unwrap().to_string(), "{}");
    }
}
