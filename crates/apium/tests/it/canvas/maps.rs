//! Maps, starmaps and chunks.

use apium::prelude::*;

use crate::canvas::tasks::{add, boom, boomed, ends, mul, raised, ran, sum};
use crate::fixture::{PATIENCE, last_sent, only, waiting};

#[task(name = "canvas.routed", queue = "maps")]
async fn routed(x: i64) -> TaskResult<i64> {
    Ok(x)
}

on_every_driver! {
    async fn a_map_is_one_message(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = sum::map([vec![1, 2], vec![3]]).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.task.as_deref(), Some("celery.map"));
        assert_eq!(ran(&app, &result).await, [3, 3]);
    }

    async fn a_starmap_passes_each_item_as_arguments(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = add::starmap([(1, 2), (3, 4)]).send(&app).await.unwrap();
        assert_eq!(only(&app).await.headers.task.as_deref(), Some("celery.starmap"));
        assert_eq!(ran(&app, &result).await, [3, 7]);
    }

    async fn chunks_are_a_group_of_starmaps(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let chunks = add::chunks((0..5).map(|i| (i, i)), 2);
        assert_eq!(chunks.len(), 3);
        let sent = chunks.send(&app).await.unwrap();
        assert_eq!(app.drain().await, 3);
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [vec![0, 2], vec![4, 6], vec![8]]);
        let result = (mul::chunks([(1, 2), (3, 4), (5, 6)], 2).cast::<(), Vec<i64>>() | sum::p().cast::<Anything, Vec<i64>>()).send(&app).await;
        assert!(result.is_ok(), "chunks may be a header");
        app.drain().await;
    }

    async fn a_map_goes_to_the_queue_of_its_task(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = routed::map([1, 2]).send(&app).await.unwrap();
        assert_eq!(waiting(&app, "maps").await.len(), 1);
        assert_eq!(ran(&app, &result).await, [1, 2]);
        assert_eq!(last_sent(&app, "celery.map").headers.task.as_deref(), Some("celery.map"));
    }

    async fn one_item_that_fails_fails_the_map(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let result = ends::map(["ok", "failed", "ok"].map(String::from)).send(&app).await.unwrap();
        assert_eq!(raised(&app, &result).await, boomed());
        let _ = boom::NAME;
    }
}
