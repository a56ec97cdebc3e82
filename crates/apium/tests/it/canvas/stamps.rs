//! Stamps.

use std::time::Duration;

use apium::canvas::{FixedStamps, Node, Stamps};
use apium::message::Json;
use apium::prelude::*;

use crate::canvas::tasks::{add, call, ends, link, ran, record, sent, sum};
use crate::fixture::{Records, records};

/// Records the stamps of its request.
#[task(name = "canvas.stamped")]
async fn stamped(ctx: &Ctx, State(records): State<Records>, x: Json) -> TaskResult<Json> {
    let headers = &ctx.request().headers;
    let stamps: Vec<String> = headers.stamps.iter().map(|(name, value)| format!("{name}={value}")).collect();
    records.add(format!("{x} {} {:?}", stamps.join(","), headers.stamped_headers.clone().unwrap_or_default()));
    Ok(x)
}

fn tenant(node: &mut Node) {
    let stamps: Stamps = [("tenant".to_owned(), Json::from_text("7").unwrap())].into();
    node.stamp(&mut FixedStamps, &stamps, false).unwrap();
}

on_every_driver! {
    async fn stamps_reach_every_task_of_a_workflow(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let step = || call("canvas.stamped", json!([]));
        let header = Node::group([step(), step()]);
        let mut chain = call("canvas.stamped", json!([1])).pipe(header).pipe(call("canvas.sum", json!([]))).pipe(step());
        chain.link(link(&step()));
        tenant(&mut chain);
        let result = sent::<Json>(&app, chain).await;
        ran(&app, &result).await;
        let seen = records(&app);
        let stamp = r#"tenant=7 ["tenant"]"#;
        assert_eq!(seen, [1, 1, 1, 2, 2].map(|x| format!("{x} {stamp}")), "the body's callback too");
        let all = ["canvas.stamped", sum::NAME].map(|name| app.sent_by_name(name)).concat();
        assert!(all.iter().all(|out| out.message.headers.stamps["tenant"].as_str() == "7"));
    }

    async fn a_link_that_is_added_later_has_no_stamp(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let before = add::s(1, 1).link(call_of("canvas.stamped")).stamp("tenant", 7);
        let result = before.send(&app).await.unwrap();
        ran(&app, &result).await;
        assert_eq!(records(&app), [r#"2 tenant=7 ["tenant"]"#]);
        let after = add::s(1, 1).stamp("tenant", 7).link(call_of("canvas.stamped"));
        let result = after.send(&app).await.unwrap();
        ran(&app, &result).await;
        assert_eq!(records(&app), ["2  []"]);
    }

    async fn stamps_survive_a_retry_and_are_in_extended_results(fixture: &Fixture) {
        let app = fixture.app(&[("result_extended", "true")]).await;
        let result = ends::s("retried".into()).stamp("tenant", 7).send(&app).await.unwrap();
        app.drain().await;
        app.advance(Duration::from_secs(5)).await;
        let runs: Vec<_> = app.sent_by_name(ends::NAME).into_iter().map(|out| out.message.headers).collect();
        assert_eq!(runs.iter().map(|headers| headers.retries).collect::<Vec<_>>(), [0, 1]);
        assert!(runs.iter().all(|headers| headers.stamps["tenant"].as_str() == "7"));
        assert!(runs.iter().all(|headers| headers.stamped_headers.as_deref() == Some(&["tenant".to_owned()])));
        let document = result.document().await.unwrap().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document.to_json()).unwrap();
        assert_eq!((&document["tenant"], &document["stamped_headers"]), (&json!(7), &json!(["tenant"])));
        let _ = record::NAME;
    }

    async fn a_step_keeps_its_own_stamp(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut second = call("canvas.stamped", json!([]));
        tenant(&mut second);
        let mut chain = call("canvas.stamped", json!([1])).pipe(second);
        chain.options_mut().rare_mut().stamps.insert("tenant".to_owned(), Json::from_text("8").unwrap());
        let result = sent::<Json>(&app, chain).await;
        ran(&app, &result).await;
        assert_eq!(records(&app), [r#"1 tenant=8 ["tenant"]"#, r#"1 tenant=7 ["tenant"]"#]);
    }
}

fn call_of(name: &str) -> apium::message::Signature {
    link(&call(name, json!([])))
}
