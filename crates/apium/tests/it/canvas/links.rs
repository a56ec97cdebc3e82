//! Callbacks and errbacks.

use std::time::Duration;

use apium::canvas::Node;
use apium::prelude::*;

use crate::canvas::tasks::{add, call, ends, errback1, errback3, link, ran, record, sent, state};
use crate::fixture::{PATIENCE, Records, last_sent, records};
use crate::gate::Gate;
use crate::live::wait_until;

/// An errback that reads its own request, so it is of the old style whatever its arguments are.
#[task(name = "canvas.bound_errback")]
async fn bound_errback(ctx: &Ctx, id: String, #[default] more: Option<i64>) -> TaskResult<()> {
    let _ = more;
    if ctx.request().retries() == 0 {
        return Err(ctx.retry().countdown(Duration::ZERO).into());
    }
    ctx.state::<Records>().unwrap().add(format!("bound {id} {}", ctx.request().retries()));
    Ok(())
}

/// An errback that fails itself.
#[task(name = "canvas.bad_errback")]
async fn bad_errback(request: Json, exception: Json, traceback: Json) -> TaskResult<()> {
    let _ = (request, exception, traceback);
    Err(TaskError::failure("the errback failed too"))
}

/// A task that a worker calls as an errback, since it takes more than one argument.
#[task(name = "canvas.note")]
async fn note(State(records): State<Records>, text: String, #[default] more: Option<String>) -> TaskResult<()> {
    records.add(format!("note {text} {}", more.unwrap_or_default()));
    Ok(())
}

/// An errback of the old style, once its optional argument is given by name: what comes after that cannot be given by
/// position any more.
#[task(name = "canvas.labelled")]
async fn labelled(
    State(records): State<Records>,
    id: String,
    #[default] label: String,
    #[default(1)] times: u8,
) -> TaskResult<()> {
    records.add(format!("labelled {id} {label} {times}"));
    Ok(())
}

/// A signature of [`note`] that ignores what it follows.
fn told(text: &str) -> Node {
    let mut node = call("canvas.note", json!([text]));
    if let Node::Task(task) = &mut node {
        task.call.arguments.kwargs.push(("more".to_owned(), Json::from_serialize("more").unwrap()));
    }
    node.set_immutable(true);
    node
}

#[task(name = "canvas.hangs", time_limit = "2s")]
async fn hangs(State(gate): State<Gate>) -> TaskResult<()> {
    gate.enter();
    std::future::pending::<()>().await;
    Ok(())
}

#[task(name = "canvas.hangs_softly", soft_time_limit = "2s")]
async fn hangs_softly(State(gate): State<Gate>) -> TaskResult<()> {
    gate.enter();
    std::future::pending::<()>().await;
    Ok(())
}

fn failing(errbacks: &[&str]) -> Node {
    let mut node = call("canvas.boom", json!([0]));
    for name in errbacks {
        node.link_error(link(&call(name, json!([]))));
    }
    node
}

on_every_driver! {
    async fn a_callback_takes_the_result_and_is_a_child(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::s(2, 2).on_success(add::p(16)).root_id("the-root").send(&app).await.unwrap();
        assert_eq!(ran(&app, &result).await, 4);
        let children = result.children().await.unwrap().unwrap();
        assert_eq!(children.len(), 1);
        let child = app.result::<i64>(children[0].id.clone());
        assert_eq!(child.get().timeout(PATIENCE).await.unwrap(), 20);
        let headers = last_sent(&app, add::NAME).headers;
        assert_eq!(headers.id.as_ref(), Some(child.id()));
        assert_eq!((headers.parent_id.as_ref(), headers.root_id), (Some(result.id()), Some("the-root".into())));
    }

    async fn several_callbacks_are_a_group_and_groups_are_sent_by_themselves(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut node = call("canvas.add", json!([2, 2]));
        node.link(link(&call("canvas.add", json!([16]))));
        node.link(link(&Node::group([call("canvas.add", json!([1])), call("canvas.add", json!([2]))])));
        node.link(link(&call("canvas.mul", json!([3]))));
        let result = sent::<i64>(&app, node).await;
        assert_eq!(ran(&app, &result).await, 4);
        let children = result.children().await.unwrap().unwrap();
        let mut values = Vec::new();
        for child in &children {
            values.push(GroupResult::<i64>::of_tuple(&app, child).get().timeout(PATIENCE).await.unwrap());
        }
        assert_eq!(values, [[5, 6], [20, 12]], "first the group, then the single tasks together");
    }

    async fn callbacks_follow_a_success_and_errbacks_a_failure(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (how, expected, followed) in [
            ("ok", "SUCCESS", &["recorded \"ok\""][..]),
            ("failed", "FAILURE", &["errback"]),
            ("retried", "RETRY", &[]),
            ("ignored", "PENDING", &[]),
            ("rejected", "FAILURE", &[]),
        ] {
            let errback = record::s(Json::from_serialize("errback").unwrap()).into_immutable();
            let result = ends::s(how.into()).link(record::p()).link_error(errback).send(&app).await.unwrap();
            app.drain().await;
            assert_eq!(state(&result).await, expected);
            let seen: Vec<_> = records(&app).into_iter().map(|text| text.replace("recorded \"errback\"", "errback")).collect();
            assert_eq!(seen, followed, "{how}");
            assert_eq!(result.children().await.unwrap().unwrap_or_default().len(), usize::from(how == "ok" || how == "retried"));
        }
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(records(&app), ["recorded \"retried\""], "after its last run the callback is sent");
        let expired = ends::s("ok".into()).link(record::p()).link_error(errback1::p()).expires_in(Duration::from_secs(1));
        let result = expired.send(&app).await.unwrap();
        app.clock().advance(Duration::from_secs(2));
        app.drain().await;
        assert_eq!((state(&result).await.as_str(), records(&app)), ("REVOKED", Vec::new()));
    }

    async fn an_errback_with_one_argument_is_sent_with_the_id(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<i64>(&app, failing(&[errback1::NAME])).await;
        app.drain().await;
        assert_eq!(records(&app), [format!("errback1 {}", result.id())]);
        let headers = last_sent(&app, errback1::NAME).headers;
        assert_eq!((headers.parent_id.as_ref(), headers.root_id.as_ref()), (Some(result.id()), Some(result.id())));
        assert_eq!(result.children().await.unwrap().unwrap(), [], "it is no child of the task");
    }

    async fn an_errback_with_three_arguments_is_called_by_the_worker_of_the_failed_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<i64>(&app, failing(&["canvas.bad_errback", errback3::NAME])).await;
        app.drain().await;
        assert_eq!(records(&app), [format!("errback3 {} ValueError: boom", result.id())]);
        assert_eq!(state(&result).await, "FAILURE", "a failing errback changes nothing");
        assert!(app.sent_by_name(errback3::NAME).is_empty() && app.sent_by_name("canvas.bad_errback").is_empty(), "no message is sent");
    }

    async fn an_immutable_errback_is_called_with_its_own_arguments_alone(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut task = failing(&[]);
        task.link_error(link(&told("task")));
        let result = sent::<i64>(&app, task).await;
        app.drain().await;
        assert_eq!((records(&app), state(&result).await), (vec!["note task more".to_owned()], "FAILURE".to_owned()));

        let mut body = call("canvas.record", json!([]));
        body.link_error(link(&told("body")));
        sent::<i64>(&app, Node::chord([failing(&[]), call("canvas.same", json!([1]))], body)).await;
        app.drain().await;
        assert_eq!(records(&app), ["note body more"]);

        let eager = Signature::<Anything, Json>::of_node(failing(&[])).link_error(link(&told("eager")));
        assert_eq!(state(&eager.apply(&app).await.unwrap()).await, "PENDING", "an eager result is not stored");
        assert_eq!(records(&app), ["note eager more"]);
    }

    async fn arguments_that_are_bound_by_name_count_as_in_python(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut errback = call(labelled::NAME, json!([]));
        if let Node::Task(task) = &mut errback {
            task.call.arguments.kwargs.push(("label".to_owned(), Json::from_serialize("x").unwrap()));
        }
        let mut task = failing(&[]);
        task.link_error(link(&errback));
        let result = sent::<i64>(&app, task).await;
        app.drain().await;
        assert_eq!(records(&app), [format!("labelled {} x 1", result.id())]);
    }

    async fn an_immutable_callback_of_a_group_may_be_a_workflow(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut members = Node::group([call("canvas.add", json!([1, 1])), call("canvas.add", json!([2, 2]))]);
        members.link(link(&Node::group([told("first"), call("canvas.note", json!(["second"]))])));
        sent::<Json>(&app, members).await;
        app.drain().await;
        let mut seen = records(&app);
        seen.sort();
        assert_eq!(seen, ["note first more", "note second "], "a callback of a group gets no result");
    }

    async fn a_bound_errback_takes_the_id_and_may_retry(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sent::<i64>(&app, failing(&["canvas.bound_errback"])).await;
        app.drain().await;
        assert_eq!(records(&app), [format!("bound {} 1", result.id())]);
    }

    async fn an_errback_that_is_not_registered_is_sent_on(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut node = call("canvas.boom", json!([0]));
        let mut errback = call("elsewhere.errback", json!([]));
        errback.options_mut().queue = Some("elsewhere".into());
        node.link_error(link(&errback));
        node.link_error(link(&call(errback1::NAME, json!([]))));
        let result = sent::<i64>(&app, node).await;
        app.drain().await;
        let message = app.sent_by_name("elsewhere.errback").remove(0);
        assert_eq!(&*message.routing_key, "elsewhere");
        let body = app.codecs().decode(&message.message, app.accept()).unwrap().body;
        assert_eq!(body.args[0].decode::<String>().unwrap(), result.id().as_str());
        assert_eq!(records(&app), [format!("errback1 {}", result.id())], "and the registered one runs here");
    }

    async fn an_errback_of_a_chain_is_called_once(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for failing in 0..3 {
            let step = |index| match index == failing {
                true => call("canvas.boom", json!([])),
                false => call("canvas.same", json!([])),
            };
            let mut first = step(0);
            if let Node::Task(first) = &mut first {
                first.call.arguments.args.push(Json::from_text("1").unwrap());
            }
            let mut chain = Node::chain([first, step(1), step(2)]);
            chain.link_error(link(&call(errback1::NAME, json!([]))));
            let result = sent::<Json>(&app, chain).await;
            app.drain().await;
            let mut ids = result.as_list();
            ids.reverse();
            assert_eq!(records(&app), [format!("errback1 {}", ids[failing])]);
        }
    }

    async fn errbacks_of_members_are_called_for_each(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let members = ["failed", "ok", "failed"].map(|how| ends::s(how.into()).on_error(errback1::p()));
        let sent = group(members).send(&app).await.unwrap();
        app.drain().await;
        let mut seen = records(&app);
        seen.sort();
        let mut expected = [0, 2].map(|index: usize| format!("errback1 {}", sent[index].id()));
        expected.sort();
        assert_eq!(seen, expected);
    }

    async fn a_passed_limit_is_a_failure_with_its_errbacks(fixture: &Fixture) {
        let gate = Gate::default();
        let app = fixture.builder().state(gate.clone()).build().await.unwrap();
        let worker = app.worker().concurrency(1).start().await.unwrap();
        for (name, error) in [("canvas.hangs", "TimeLimitExceeded"), ("canvas.hangs_softly", "SoftTimeLimitExceeded")] {
            let mut node = call(name, json!([]));
            node.link_error(link(&call(errback3::NAME, json!([]))));
            let result = sent::<Json>(&app, node).await;
            gate.entered(1).await;
            app.clock().advance(Duration::from_millis(2100));
            assert!(result.get().timeout(PATIENCE).await.is_err());
            let seen = std::cell::RefCell::new(Vec::new());
            wait_until("the errback is called", async || {
                seen.borrow_mut().extend(records(&app));
                !seen.borrow().is_empty()
            })
            .await;
            let seen = seen.into_inner();
            assert!(seen[0].starts_with(&format!("errback3 {} {error}", result.id())), "{seen:?}");
        }
        worker.stop().await;
    }
}
