//! Workflows that are saved, and found again by one id, with their progress and the states of their tasks.

use std::time::Duration;

use apium::ErrorKind;
use apium::prelude::*;
use apium::result::Progress;
use apium::testing::TestApp;

use crate::canvas::tasks::{add, boom, same, sum};
use crate::fixture::Fixture;

/// Returns its argument after five seconds.
#[task(name = "canvas.later")]
async fn later(ctx: &Ctx, x: i64) -> TaskResult<i64> {
    match ctx.retries() {
        0 => Err(ctx.retry().countdown(FIVE).into()),
        _ => Ok(x),
    }
}

const FIVE: Duration = Duration::from_secs(5);

/// An app as another process has it, on the same store. `None` for the memory driver, whose store no other process
/// sees.
async fn elsewhere(fixture: &Fixture) -> Option<TestApp> {
    match fixture {
        Fixture::Memory => None,
        _ => Some(fixture.app(&[]).await),
    }
}

fn progress(done: u64, total: u64) -> Progress {
    serde_json::from_value(json!({"done": done, "total": total})).unwrap()
}

async fn states(tasks: &apium::result::ResultSet<Json>) -> Vec<String> {
    tasks.states().await.unwrap().iter().map(ToString::to_string).collect()
}

on_every_driver! {
    async fn a_chain_is_found_by_the_id_of_its_last_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = (add::s(1, 1) | later::p() | add::p(10)).send(&app).await.unwrap();
        sent.save().await.unwrap();
        let other = elsewhere(fixture).await;
        let found = other.as_ref().unwrap_or(&app).restore::<i64>(sent.id().as_str()).await.unwrap().unwrap();
        assert_eq!(found.as_list(), sent.as_list(), "the last task, and those before it");
        assert_eq!(found.progress().await.unwrap(), progress(0, 3));
        app.drain().await;
        assert_eq!(found.progress().await.unwrap(), progress(1, 3));
        assert_eq!(states(&found.workflow()).await, ["SUCCESS", "RETRY", "PENDING"]);
        app.advance(FIVE).await;
        assert_eq!(found.progress().await.unwrap(), progress(3, 3));
        assert_eq!((found.get().await.unwrap(), found.workflow().progress().await.unwrap()), (12, progress(3, 3)));
    }

    async fn a_chord_is_found_by_the_id_of_its_body_or_of_its_header(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let header = group([add::s(1, 1), later::s(2), add::s(3, 3)]);
        let sent = (header | sum::p() | add::p(1)).send(&app).await.unwrap();
        sent.save().await.unwrap();
        let header = sent.parent().unwrap().parent().unwrap();
        header.save().await.unwrap();
        let other = elsewhere(fixture).await;
        let other = other.as_ref().unwrap_or(&app);
        let found = other.restore::<i64>(sent.id().as_str()).await.unwrap().unwrap();
        let parts = other.restore::<Vec<i64>>(header.id().as_str()).await.unwrap().unwrap();
        app.drain().await;
        for result in [&found.clone().cast::<Json>(), &parts.clone().cast()] {
            assert_eq!(result.progress().await.unwrap(), progress(2, 3), "the header");
        }
        let all = found.workflow();
        assert_eq!(states(&all).await, ["SUCCESS", "RETRY", "SUCCESS", "PENDING", "PENDING"]);
        assert_eq!(all.progress().await.unwrap(), progress(2, 5));
        assert_eq!(parts.group().unwrap().completed_count().await.unwrap(), 2);
        app.advance(FIVE).await;
        assert_eq!((found.get().await.unwrap(), parts.get().await.unwrap()), (11, vec![2, 2, 6]));
        assert_eq!((found.progress().await.unwrap(), all.progress().await.unwrap()), (progress(3, 3), progress(5, 5)));
    }

    async fn a_group_is_found_by_its_id_with_the_chains_in_it(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = group([add::s(1, 1) | later::p(), boom::s(Json::NULL), add::s(2, 2)]).send(&app).await.unwrap();
        sent.save().await.unwrap();
        let other = elsewhere(fixture).await;
        let found = other.as_ref().unwrap_or(&app).restore::<Json>(sent.id().as_str()).await.unwrap().unwrap();
        app.drain().await;
        assert_eq!(found.as_tuple(), sent.as_tuple());
        assert_eq!(found.progress().await.unwrap(), progress(2, 3));
        let all = found.workflow();
        assert_eq!(states(&all).await, ["SUCCESS", "RETRY", "FAILURE", "SUCCESS"], "what comes before a member too");
        assert_eq!(all.progress().await.unwrap(), progress(3, 4));
        assert_eq!(found.get().await.unwrap_err().kind(), ErrorKind::TaskFailed);
    }

    async fn what_was_not_saved_or_is_deleted_is_not_found(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = (same::s(Json::NULL) | same::p()).send(&app).await.unwrap();
        let id = sent.id().as_str();
        assert!(app.restore::<Json>(id).await.unwrap().is_none());
        sent.save().await.unwrap();
        assert_eq!(app.restore::<Json>(id).await.unwrap().unwrap(), sent);
        sent.delete_saved().await.unwrap();
        assert!(app.restore::<Json>(id).await.unwrap().is_none());
        app.drain().await;
        assert!(sent.get().await.unwrap().is_null(), "the results stay");
    }

    async fn a_chain_that_is_too_long_for_celerys_form_is_refused(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut last = app.result::<Json>("0");
        for step in 1..256 {
            last = app.result(step.to_string()).with_parent(last);
        }
        last.save().await.unwrap();
        assert_eq!(app.restore::<Json>("255").await.unwrap().unwrap().as_list().len(), 256);
        let error = app.result::<Json>("256").with_parent(last).save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Call);
        assert!(error.to_string().contains("more than 256"), "{error}");
    }
}
