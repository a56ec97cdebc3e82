//! Eager workflows: `task_always_eager`, and `apply`.

use apium::ErrorKind;
use apium::canvas::Node;
use apium::prelude::*;

use crate::canvas::tasks::{add, boomed, call, ends, errback1, kind, link, mul, record, same, sum};
use crate::fixture::{PATIENCE, records, waiting};

/// Replaces itself with a chain.
#[task(name = "canvas.replaced_eagerly")]
async fn replaced(ctx: &Ctx) -> TaskResult<i64> {
    Err(ctx.replace(Node::chain([call("canvas.add", json!([1, 1])), call("canvas.add", json!([5]))])))
}

on_every_driver! {
    async fn apply_runs_workflows_in_this_process(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = (add::s(2, 2) | mul::p(10)).apply(&app).await.unwrap();
        assert_eq!(chain.get().timeout(PATIENCE).await.unwrap(), 40);
        assert_eq!(chain.parent().unwrap().get().timeout(PATIENCE).await.unwrap().decode::<i64>().unwrap(), 4);
        let chord = (group([add::s(1, 1), add::s(2, 2)]) | sum::p() | add::p(1)).apply(&app).await.unwrap();
        assert_eq!(chord.get().timeout(PATIENCE).await.unwrap(), 7);
        let linked = add::s(1, 1).on_success(add::p(1)).apply(&app).await.unwrap();
        assert_eq!(linked.get().timeout(PATIENCE).await.unwrap(), 2);
        assert_eq!(linked.children().await.unwrap().unwrap().len(), 1);
        let empty = (group(Vec::<Signature<(), i64>>::new()) | sum::p()).apply(&app).await.unwrap();
        assert_eq!(empty.get().timeout(PATIENCE).await.unwrap(), 0);
        assert!(waiting(&app, "celery").await.is_empty(), "nothing is sent");
    }

    async fn always_eager_is_for_workflows_too(fixture: &Fixture) {
        let app = fixture.app(&[("task_always_eager", "true")]).await;
        let chain = (add::s(2, 2) | group([add::p(1), add::p(2)]) | sum::p()).send(&app).await.unwrap();
        assert_eq!(chain.get().timeout(PATIENCE).await.unwrap(), 11);
        let sent = (add::s(2, 2) | group([add::p(1), add::p(2)])).send(&app).await.unwrap();
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [5, 6]);
        let map = sum::map([vec![1, 2], vec![3]]).send(&app).await.unwrap();
        assert_eq!(map.get().timeout(PATIENCE).await.unwrap(), [3, 3]);
        let chunks = add::chunks((0..3).map(|i| (i, i)), 2).send(&app).await.unwrap();
        assert_eq!(chunks.get().timeout(PATIENCE).await.unwrap(), [vec![0, 2], vec![4]]);
        assert!(waiting(&app, "celery").await.is_empty(), "nothing is sent");
    }

    async fn an_eager_chain_ends_with_a_step_that_fails(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chain = ends::s("failed".into()).cast::<(), Json>() | record::p();
        let error = chain.apply(&app).await.unwrap_err();
        assert_eq!(kind(&error), boomed());
        let ignored = ends::s("ignored".into()).cast::<(), Json>() | record::p();
        assert_eq!(ignored.apply(&app).await.unwrap_err().kind(), ErrorKind::TaskFailed);
        let header = group([same::s(Json::from_text("1").unwrap()), ends::s("failed".into()).cast::<(), Json>()]);
        let error = (header | record::p().cast::<Vec<Json>, Json>()).apply(&app).await.unwrap_err();
        assert_eq!(kind(&error), boomed());
        assert_eq!(records(&app), [""; 0], "no later step ran");
        let last = (same::s(Json::from_text("\"failed\"").unwrap()).cast::<(), String>() | ends::p()).apply(&app).await.unwrap();
        assert_eq!(kind(&last.get().timeout(PATIENCE).await.unwrap_err()), boomed(), "the result of the last step has its failure");
    }

    async fn errbacks_of_eager_tasks_run_in_this_process(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let errback3 = link(&call("canvas.errback3", json!([])));
        let result = ends::s("failed".into()).link_error(errback1::p()).link_error(errback3).apply(&app).await.unwrap();
        assert_eq!(kind(&result.get().timeout(PATIENCE).await.unwrap_err()), boomed());
        let id = result.id();
        assert_eq!(records(&app), [format!("errback1 {id}"), format!("errback3 {id} ValueError: boom")]);
    }

    async fn the_replacement_of_an_eager_task_is_eager_too(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = replaced::s().apply(&app).await.unwrap();
        assert_eq!(result.get().timeout(PATIENCE).await.unwrap(), 7);
    }
}
