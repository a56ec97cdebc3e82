//! Plain groups: one id, one result for all.

use apium_app::error::ErrorKind;
use apium_app::result::get::Outcome;
use apium_app::result::group_result::GroupResult;
use apium_app::signature::group::group;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;

use crate::kit::{self, Add};
use crate::result::trees::soon;

#[tokio::test]
async fn guide_0_95_a_group_returns_its_values_in_order() {
    let (app, sent) = kit::app().await;
    let result = group([2, 4, 8, 16].map(|i| Add::s(i, i))).send(&app).await.unwrap();
    let messages = sent.take();
    for (index, message) in messages.iter().enumerate() {
        let headers = &message.message.headers;
        assert_eq!(headers.group.as_deref(), Some(result.id().as_str()));
        assert_eq!(headers.group_index, i64::try_from(index).ok());
        assert_eq!(headers.root_id, headers.id);
    }
    let finish = async {
        for (i, value) in [(3, "32"), (0, "4"), (2, "16"), (1, "8")] {
            kit::store(&app, result.results()[i].id(), "SUCCESS", value).await;
        }
    };
    let (values, ()) = tokio::join!(result.get(), finish);
    assert_eq!(values.unwrap(), [4, 8, 16, 32]);
    assert!(result.successful().await.unwrap() && !result.waiting().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn scenario_15_errors_and_counts_of_a_group() {
    let (app, _) = kit::app().await;
    let result = group([1, 2, 3].map(|i| Add::s(i, 0))).send(&app).await.unwrap();
    assert_eq!((result.waiting().await.unwrap(), result.completed_count().await.unwrap()), (true, 0));
    let error = ExceptionInfo::from_path("builtins.ValueError", "boom").to_json();
    kit::store(&app, result.results()[1].id(), "FAILURE", error.as_str()).await;
    // The first failure is raised at once, although other members have not ended.
    assert_eq!(soon(result.get().into_future()).await.unwrap_err().kind(), ErrorKind::TaskFailed);
    kit::store(&app, result.results()[0].id(), "SUCCESS", "1").await;
    kit::store(&app, result.results()[2].id(), "SUCCESS", "3").await;
    let outcomes = result.get().outcomes().await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Value(1), Outcome::Failed(_), Outcome::Value(3)]), "{outcomes:?}");
    assert_eq!(result.states().await.unwrap(), [State::Success, State::Failure, State::Success]);
    assert!(result.ready().await.unwrap() && result.failed().await.unwrap() && !result.successful().await.unwrap());
    assert_eq!(result.completed_count().await.unwrap(), 2);
    result.forget().await.unwrap();
    assert_eq!(result.completed_count().await.unwrap(), 0, "the documents in memory are forgotten too");
    let again = GroupResult::<i64>::new(&app, "g", result.iter().map(|one| app.result(one.id().clone())).collect());
    assert!(again.waiting().await.unwrap());
}

#[tokio::test]
async fn the_value_of_an_empty_group_is_an_empty_list() {
    let (app, sent) = kit::app().await;
    let result = group::<(), i64>([]).send(&app).await.unwrap();
    assert_eq!(result.get().await.unwrap(), Vec::<i64>::new());
    assert!(sent.take().is_empty());
}

#[tokio::test]
async fn options_and_errbacks_of_a_group_go_to_its_members() {
    let (app, sent) = kit::app().await;
    let members = [Add::s(1, 1).queue("own"), Add::s(2, 2)];
    group(members.clone()).priority(5).task_id("the-group").send(&app).await.unwrap();
    let messages = sent.take();
    assert_eq!((&*messages[0].routing_key, &*messages[1].routing_key), ("own", "celery"));
    for message in &messages {
        assert_eq!(message.message.properties.priority, Some(5));
        assert_eq!(message.message.headers.group.as_deref(), Some("the-group"));
        assert_ne!(message.message.headers.id, Some("the-group".into()));
    }
    group(members).on_error(WireSignature::new("tasks.mul")).send(&app).await.unwrap();
    for message in sent.take() {
        let body = String::from_utf8(message.message.body.to_vec()).unwrap();
        assert!(body.contains(r#""errbacks": [{"task": "tasks.mul""#), "each member has it: {body}");
    }
}

#[tokio::test]
async fn feature_4_2_07_a_saved_group_can_be_restored() {
    let (app, _) = kit::app().await;
    let result = group([1, 2].map(|i| Add::s(i, 0))).send(&app).await.unwrap();
    result.save().await.unwrap();
    let restored = GroupResult::<i64>::restore(&app, result.id().as_str()).await.unwrap().unwrap();
    assert_eq!(restored.results(), result.results());
    restored.delete().await.unwrap();
    assert!(GroupResult::<i64>::restore(&app, result.id().as_str()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_group_inside_a_task_is_one_child() {
    let (app, _) = kit::app().await;
    let ctx = kit::running(&app, "parent", None, 0);
    let sent = apium_app::context::current::scope(ctx.clone(), async { group([Add::s(1, 2)]).await.unwrap() }).await;
    assert_eq!(ctx.children(), [sent.as_tuple()]);
}
