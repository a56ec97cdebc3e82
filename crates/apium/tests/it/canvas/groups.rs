//! Groups.

use std::time::Duration;

use apium::canvas::{Node, send};
use apium::prelude::*;

use crate::canvas::tasks::{add, boomed, call, kind, link, mul, ran, record};
use crate::fixture::{PATIENCE, records};

/// Sends a group of two, and returns how many tasks it has sent.
#[task(name = "canvas.spawns")]
async fn spawns(as_children: bool) -> TaskResult<usize> {
    let mut members = group([add::s(1, 1), add::s(2, 2)]);
    if !as_children {
        members = members.add_to_parent(false);
    }
    Ok(members.await?.len())
}

on_every_driver! {
    async fn the_results_of_a_group_are_in_order(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = (0..10).map(|i| add::s(i, i)).collect::<Group<_, _>>().send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), (0..10).map(|i| 2 * i).collect::<Vec<_>>());
        let with = group([add::p(1), mul::p(10)]).partial(4).send(&app).await.unwrap();
        app.drain().await;
        assert_eq!(with.get().timeout(PATIENCE).await.unwrap(), [5, 40], "arguments of the call go to every member");
    }

    async fn errbacks_and_links_of_members(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut members = Node::group([call("canvas.same", json!([1])), call("canvas.boom", json!([2])), call("canvas.boom", json!([3]))]);
        members.link(link(&call("canvas.record", json!(["first"]))));
        members.link_error(link(&call("canvas.errback1", json!([]))));
        let sent = GroupResult::<Json>::of_tuple(&app, &send(&app, members).await.unwrap());
        app.drain().await;
        assert_eq!(kind(&sent.get().timeout(PATIENCE).await.unwrap_err()), boomed());
        let mut seen = records(&app);
        seen.sort();
        let mut expected = vec![format!("errback1 {}", sent[1].id()), format!("errback1 {}", sent[2].id()), "recorded \"first\"".into()];
        expected.sort();
        assert_eq!(seen, expected);
    }

    async fn the_results_of_nested_groups_are_one_flat_list(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let one = |i: i64| call("canvas.same", json!([i]));
        let nested = Node::group([one(1), Node::group([one(2), Node::group([one(3), one(4)])]), one(5)]);
        let sent = GroupResult::<i64>::of_tuple(&app, &send(&app, nested).await.unwrap());
        app.drain().await;
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [1, 2, 3, 4, 5]);
    }

    async fn an_empty_group_has_an_empty_result(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let sent = group(Vec::<Signature<(), i64>>::new()).send(&app).await.unwrap();
        assert!(sent.is_empty());
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [0_i64; 0]);
        assert!(sent.ready().await.unwrap() && sent.successful().await.unwrap());
        assert_eq!(app.drain().await, 0);
    }

    async fn options_of_a_group_are_every_member_s(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let members = group([add::s(1, 1), add::s(2, 2)]).task_id("the-group").countdown(Duration::from_secs(5));
        let sent = members.queue("side").send(&app).await.unwrap();
        assert_eq!(sent.id().as_str(), "the-group");
        app.drain().await;
        assert!(sent.waiting().await.unwrap());
        app.advance(Duration::from_secs(5)).await;
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [2, 4]);
        for (index, out) in app.sent_by_name(add::NAME).into_iter().enumerate() {
            let headers = &out.message.headers;
            assert_eq!((headers.group.as_deref(), headers.group_index), (Some("the-group"), i64::try_from(index).ok()));
            assert_eq!(&*out.routing_key, "side");
        }
        for result in &sent {
            assert_eq!(result.document().await.unwrap().unwrap().group_id.as_deref(), Some("the-group"));
        }
    }

    async fn a_group_of_one_chain_that_ends_with_a_group_is_that_group(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let inner = Node::group([call("canvas.add", json!([1])), call("canvas.add", json!([2]))]);
        let outer = Node::group([call("canvas.add", json!([1, 1])).pipe(inner)]);
        let sent = GroupResult::<i64>::of_tuple(&app, &send(&app, outer).await.unwrap());
        app.drain().await;
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [3, 4]);
    }

    async fn a_group_that_a_task_sends_is_one_of_its_children(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        for (as_children, count) in [(true, 1), (false, 0)] {
            let result = spawns::s(as_children).send(&app).await.unwrap();
            assert_eq!(ran(&app, &result).await, 2);
            let children = result.children().await.unwrap().unwrap();
            assert_eq!(children.len(), count);
            for group in children {
                let group = GroupResult::<i64>::of_tuple(&app, &group);
                assert_eq!(group.get().timeout(PATIENCE).await.unwrap(), [2, 4]);
            }
        }
    }

    async fn skewed_members_start_one_after_the_other(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let second = Duration::from_secs(1);
        let members = group((1..=3).map(|i: i64| record::s(Json::from_serialize(&i).unwrap()))).skew(second, None, second);
        let sent = members.send(&app).await.unwrap();
        for i in 1..=3 {
            assert_eq!(sent.completed_count().await.unwrap(), i - 1);
            app.advance(second).await;
            assert_eq!(records(&app), [format!("recorded {i}")]);
        }
    }

    async fn immutable_members_ignore_the_previous_result(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let mut members = Node::group([call("canvas.add", json!([1, 2])), call("canvas.add", json!([3, 4]))]);
        members.set_immutable(true);
        let sent = GroupResult::<i64>::of_tuple(&app, &send(&app, call("canvas.add", json!([9, 9])).pipe(members)).await.unwrap());
        app.drain().await;
        assert_eq!(sent.get().timeout(PATIENCE).await.unwrap(), [3, 7]);
    }
}
