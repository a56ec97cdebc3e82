//! Chords with parts at a Celery worker and in settlements of Apium: the side that ends the last part sends the body,
//! once.

use apium_peers::celery::CeleryWorker;
use apium_peers::python::run_python;
use apium_peers::redis::Commands;
use apium_peers::redis_server::fresh_database;
use apium_protocol::json::text::Json;
use apium_protocol::message::message::Message;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultBackend as _, ResultRecord, ResultStream};
use apium_transport::backend::chord::FailedPart;
use apium_transport::broker::consumer::Delivery;
use apium_transport::broker::follow_ups::FollowUps;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::{Acknowledgement, Settlement};
use apium_transport::error::Result;
use futures_util::StreamExt as _;

use crate::brokers::{consumer, message, take};
use crate::kit::{soon, until};
use crate::settle::follow_ups::{Body, counts, part, settle, store, texts};

/// The message of Celery's task `echo` as the body of a chord.
fn echo(body: &str, came: Result<Vec<Json>, FailedPart>) -> FollowUps {
    let mut message = Message::default();
    message.headers.task = Some("tasks.echo".into());
    message.headers.id = Some(TaskId::from(body));
    message.headers.root_id = Some(TaskId::from(body));
    message.properties.content_type = Some("application/json".into());
    message.properties.content_encoding = Some("utf-8".into());
    message.properties.correlation_id = Some(body.into());
    let results = texts(&came.unwrap()).replace(' ', ", ");
    message.body = format!("[[[{results}]], {{}}, {{}}]").into();
    let mut follow_ups = FollowUps::default();
    follow_ups.publish = vec![Outgoing::to_queue("celery", message)];
    follow_ups
}

/// The settlement of the delivery's task, which returns `result`.
fn settlement(delivery: &Delivery, body: &str, result: &str) -> Settlement {
    let headers = &message(delivery).headers;
    let (id, group) = (headers.id.clone().unwrap(), headers.group.as_ref().unwrap().to_string());
    let document = ResultDocument::new(id.clone(), State::Success, Json::from_text(result).unwrap());
    let body = body.to_owned();
    let part = part(&group, id.as_str(), headers.group_index.unwrap(), result);
    let mut settlement = Settlement::default();
    settlement.record = Some(Box::new(ResultRecord::new(document)));
    settlement.delivery = Some((delivery.receipt.clone(), Acknowledgement::Ack));
    settlement.follow_ups = counts(part, Body(move |came| echo(&body, came)));
    settlement
}

async fn next(stream: &mut ResultStream) -> ResultDocument {
    soon("a result", stream.next()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_last_sends_the_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let _worker = CeleryWorker::builder().urls(&database.url, &database.url).args(["-c", "1"]).start();
    let env = [("BROKER_URL", &*database.url), ("RESULT_BACKEND", &*database.url)];
    let mut consumer = consumer(&broker, "ours").await;
    for (plain, ours_is_last) in [(true, true), (true, false), (false, true), (false, false)] {
        // A header that holds a group takes its results from the store.
        let header = if plain { "first, second" } else { "group(first), group(second)" };
        let queue = if ours_is_last { "celery" } else { "held" };
        let send = format!(
            "import tasks as app; from celery import chord, group\n\
             first, second = app.add.s(1, 1).set(queue='{queue}'), app.add.s(2, 2).set(queue='ours')\n\
             body = chord([{header}])(app.echo.s())\n\
             print(body.id, body.parent.id)"
        );
        let sent = run_python(["-c", &*send], &env);
        let [body, group] = sent.text().split(' ').collect::<Vec<_>>().try_into().unwrap();
        let delivery = take(&mut consumer, 1).await.remove(0);
        let headers = &message(&delivery).headers;
        assert_eq!(headers.group.as_deref(), Some(group), "{plain}");
        let mut bodies = backend.watch(vec![body.into()]).await.unwrap();
        let counted = format!("celery-taskset-meta-{group}.j");
        if ours_is_last {
            until("the part of Celery", || redis.zcard::<_, usize>(&counted).unwrap() == 1).await;
        }
        settle(&*consumer, vec![settlement(&delivery, body, "4")]).await.unwrap();
        if !ours_is_last {
            assert_eq!(redis.zcard::<_, usize>(&counted).unwrap(), 1, "Celery's is not there yet");
            let first: String = redis.rpop("held", None).unwrap();
            let _: u64 = redis.lpush("celery", first).unwrap();
        }
        let ended = next(&mut bodies).await;
        assert_eq!((ended.task_id.as_str(), ended.state), (body, State::Success));
        assert_eq!(ended.result.as_str(), r#"{"args": [[2, 4]], "kwargs": {}}"#);
        let claim = format!("celery-taskset-meta-{group}.c");
        until("the end of the chord", || redis.get::<_, Option<String>>(&claim).unwrap().as_deref() == Some("done"))
            .await;
        assert!(!redis.exists::<_, bool>(&counted).unwrap());
    }
    assert_eq!(redis.llen::<_, usize>("celery").unwrap(), 0, "no body was sent twice");
}

/// Each side runs half of the header, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_end_at_the_same_time_send_one_body() {
    let database = fresh_database();
    let mut redis = database.connection();
    let (broker, backend) = store(&database.url);
    let worker = CeleryWorker::builder().urls(&database.url, &database.url).args(["-c", "2"]).start();
    let env = [("BROKER_URL", &*database.url), ("RESULT_BACKEND", &*database.url)];
    let mut consumer = consumer(&broker, "ours").await;
    let send = "import tasks as app; from celery import chord\n\
                header = [app.add.s(n, 0).set(queue='ours' if n % 2 else 'celery') for n in range(60)]\n\
                body = chord(header)(app.echo.s()); print(body.id, body.parent.id)";
    let sent = run_python(["-c", send], &env);
    let [body, group] = sent.text().split(' ').collect::<Vec<_>>().try_into().unwrap();
    let mut bodies = backend.watch(vec![body.into()]).await.unwrap();
    for _ in 0..30 {
        let delivery = take(&mut consumer, 1).await.remove(0);
        let place = message(&delivery).headers.group_index.unwrap().to_string();
        settle(&*consumer, vec![settlement(&delivery, body, &place)]).await.unwrap();
    }
    let wanted: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let ended = next(&mut bodies).await;
    assert_eq!(ended.result.as_str(), format!(r#"{{"args": [[{}]], "kwargs": {{}}}}"#, wanted.join(", ")));
    let claim = format!("celery-taskset-meta-{group}.c");
    until("the end of the chord", || redis.get::<_, Option<String>>(&claim).unwrap().as_deref() == Some("done")).await;
    until("an empty queue", || redis.hlen::<_, usize>("unacked").unwrap() == 0).await;
    assert_eq!(worker.log().matches(&format!("tasks.echo[{body}] received")).count(), 1);
}
