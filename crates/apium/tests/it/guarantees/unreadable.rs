//! `nothing-dropped`: a message that cannot be read goes to the dead set with the reason and its bytes, and can be
//! replayed.

use std::path::Path;
use std::sync::Arc;

use apium::driver::{Address, Clock, DeadLetter, DeadSet, DriverOptions, MemoryDriver, Outgoing};
use apium::message::{Compression, Headers, Message, Properties, base64};
use apium::prelude::*;
use apium::task::Parameter;
use apium::worker::{StopKind, WorkerHandle};
use apium_peers::redis::Commands;
use bytes::Bytes;

use crate::fixture::Fixture;
use crate::live::{live, start, stop, value, wait_until};

/// The task of the captured messages, under any name.
struct Add<const UNKNOWN: bool>;

impl<const UNKNOWN: bool> Task for Add<UNKNOWN> {
    const NAME: &'static str = if UNKNOWN { "no.such.task" } else { "tasks.add" };
    const PARAMETERS: &'static [Parameter] = &[Parameter::required("x"), Parameter::required("y")];
    type Args = (i64, i64);
    type Output = i64;

    async fn run(&self, _ctx: &Ctx, (x, y): (i64, i64)) -> TaskResult<i64> {
        Ok(x + y)
    }
}

/// The unknown compression that one of the captured messages names. It does not change the bytes.
struct Foo;

impl Compression for Foo {
    fn names(&self) -> &[&str] {
        &["foo"]
    }

    fn mime(&self) -> &str {
        "application/x-foo"
    }

    fn compress(&self, bytes: &[u8]) -> apium::message::Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }

    fn decompress(&self, bytes: &[u8], _limit: usize) -> apium::message::Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

/// A bad message that was published to a Celery worker.
struct Captured {
    case: String,
    message: Message,
    /// The state that Celery stored.
    state: Option<String>,
}

fn captured() -> Vec<Captured> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/bad_messages_amqp.json");
    let vector: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let read = |case: &serde_json::Value| {
        let published = &case["published"];
        let headers = match &published["application_headers"] {
            serde_json::Value::Null => Headers::default(),
            headers => Headers::from_json(headers.to_string().as_bytes()).unwrap(),
        };
        let mut properties = Properties::default();
        properties.content_type = text(&published["content_type"]).map(Into::into);
        properties.content_encoding = text(&published["content_encoding"]).map(Into::into);
        properties.correlation_id = text(&published["correlation_id"]).map(Into::into);
        let body = base64::decode(published["body_b64"].as_str().unwrap()).unwrap().into();
        Captured {
            case: text(&case["case"]).unwrap(),
            message: Message::new(properties, headers, body),
            state: text(&case["stored_result"]["status"]),
        }
    };
    vector["cases"].as_array().unwrap().iter().map(read).collect()
}

/// The messages that go to the dead set: the case, the code, and a word of the reason. The worker can read all others.
const DEAD: &[(&str, &str, &str)] = &[
    ("unknown_task", "unknown-task", "no.such.task"),
    ("invalid_json_body", "undecodable", "byte"),
    ("disallowed_content_type_pickle", "content-type", "pickle"),
    ("unknown_content_type", "content-type", "application/x-nothing"),
    ("bad_compression", "undecodable", "gzip"),
    ("unknown_compression", "undecodable", "application/x-foo"),
    ("no_task_header_not_dict", "undecodable", "task"),
    ("no_task_header_dict_without_task", "undecodable", "task"),
    ("bad_eta", "bad-eta", "not-a-date"),
    ("wrong_arity", "arguments", "missing 1 required positional argument: 'y'"),
    ("body_two_elements", "undecodable", "three elements"),
    ("missing_content_type", "undecodable", "content type"),
    ("missing_id_header", "undecodable", "id of the task"),
];

/// A store that several apps open.
struct SharedStore<'a> {
    fixture: &'a Fixture,
    memory: Arc<MemoryDriver>,
}

impl<'a> SharedStore<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, memory: Arc::new(MemoryDriver::new()) }
    }

    fn app(&self) -> AppBuilder {
        live(self.fixture).driver(self.memory.clone()).register_task(Add::<false>)
    }

    /// Puts bytes that are no message into the queue.
    fn insert_unreadable(&self, raw: &'static [u8], reason: &str) {
        match self.fixture {
            Fixture::Memory => {
                let address = Address::parse(&self.fixture.url()).unwrap();
                let options = DriverOptions::new(Clock::system());
                self.memory.insert_unreadable(&address, &options, "celery", Bytes::from_static(raw), reason);
            }
            Fixture::Sqlite(dir) => {
                let file = rusqlite::Connection::open(dir.path().join("queue.db")).unwrap();
                // Damages the only message there.
                let spoilt = "UPDATE message SET exchange = NULL, routing_key = NULL, headers = NULL, properties = ?1, body = ?2";
                assert_eq!(file.execute(spoilt, rusqlite::params![reason, raw]).unwrap(), 1);
            }
            Fixture::Redis(database, _) => {
                let () = database.connection().lpush("celery", raw).unwrap();
            }
            Fixture::Rabbitmq(..) => unreachable!("there is no such message in AMQP"),
        }
    }
}

fn dead(app: &App) -> &dyn DeadSet {
    app.broker().dead().unwrap()
}

async fn dead_letters(app: &App) -> Vec<DeadLetter> {
    dead(app).list(0, 100).await.unwrap()
}

async fn until_dead(app: &App, count: u64) {
    wait_until(&format!("{count} in the dead set"), async || dead(app).count().await.unwrap() == count).await;
}

/// Asserts that a dead letter has the body, the properties and the headers that were published.
fn assert_unchanged(dead_letter: &DeadLetter, sent: &Message, case: &str) {
    let message = dead_letter.message.as_ref().unwrap_or_else(|| panic!("{case} is stored as a message"));
    assert_eq!(
        (&message.body, &message.properties, &message.headers),
        (&sent.body, &sent.properties, &sent.headers),
        "{case}"
    );
    let id = sent.headers.id.as_ref().map(TaskId::as_str).or(sent.properties.correlation_id.as_deref());
    assert_eq!(dead_letter.task_id.as_deref(), id, "{case}");
    assert_eq!(dead_letter.task.as_deref(), sent.headers.task.as_deref(), "{case}");
    assert_eq!((dead_letter.raw.as_ref(), dead_letter.queue.as_str()), (None, "celery"), "{case}");
}

/// Publishes a captured message.
async fn publish(app: &App, message: &Message) {
    app.broker().publish(vec![Outgoing::to_queue("celery", message.clone())]).await.unwrap();
}

/// Waits until a task has ended, and returns its state.
async fn state_of(app: &App, message: &Message) -> TaskState {
    let id = message.headers.id.clone().or_else(|| {
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        body["id"].as_str().map(TaskId::from)
    });
    let result = app.result::<Json>(id.unwrap());
    result.get().timeout(crate::live::PATIENCE).outcome().await.unwrap();
    result.state().await.unwrap()
}

async fn worker(app: &App) -> WorkerHandle {
    start(app, 1).await
}

on_every_driver! {
    async fn each_captured_bad_message_goes_to_the_dead_set_with_its_reason(fixture: &Fixture) {
        let store = SharedStore::new(fixture);
        let app = store.app().build().await.unwrap();
        let running = worker(&app).await;
        let cases = captured();
        assert!(DEAD.iter().all(|(name, ..)| cases.iter().any(|captured| captured.case == *name)));
        let mut count = 0;
        for Captured { case, message, state } in &cases {
            publish(&app, message).await;
            let Some((_, code, word)) = DEAD.iter().find(|(name, ..)| name == case) else {
                // Celery's workers can read it, and store a result.
                let stored = state_of(&app, message).await;
                let expected = if case == "kwargs_not_mapping" { "SUCCESS" } else { state.as_deref().unwrap() };
                assert_eq!(stored.as_str(), expected, "{case}");
                continue;
            };
            count += 1;
            until_dead(&app, count).await;
            let dead_letter = dead_letters(&app).await.pop().unwrap();
            assert_eq!(dead_letter.code, *code, "{case}: {}", dead_letter.reason);
            assert!(dead_letter.reason.contains(word), "{case}: {}", dead_letter.reason);
            assert_unchanged(&dead_letter, message, case);
            if let Some(id) = &message.headers.id {
                let wanted = state.as_deref().unwrap_or("PENDING");
                let stored = async || app.result::<Json>(id.clone()).state().await.unwrap();
                wait_until(&format!("{case} is {wanted}"), async || stored().await.as_str() == wanted).await;
            }
        }
        stop(running, StopKind::Warm).await;

        // Replayed to the same worker, they are dead-lettered again. A worker that can read more of them runs those.
        let before = dead_letters(&app).await;
        let keys = |dead_letters: &[DeadLetter]| dead_letters.iter().map(|dead_letter| dead_letter.key).collect::<Vec<_>>();
        assert_eq!(dead(&app).replay(keys(&before)).await.unwrap(), count);
        assert_eq!(dead(&app).count().await.unwrap(), 0);
        let running = worker(&app).await;
        until_dead(&app, count).await;
        stop(running, StopKind::Warm).await;
        let after = dead_letters(&app).await;
        for old in &before {
            let same = |new: &&DeadLetter| (&new.code, &new.message) == (&old.code, &old.message);
            assert_eq!(after.iter().filter(same).count(), 1, "{old:?}");
        }

        let able = store.app().register_task(Add::<true>).compression(Foo).build().await.unwrap();
        assert_eq!(dead(&able).replay(keys(&after)).await.unwrap(), count);
        let running = worker(&able).await;
        for case in ["unknown_task", "unknown_compression"] {
            let message = &cases.iter().find(|captured| captured.case == case).unwrap().message;
            let id = message.headers.id.clone().unwrap();
            // A new result object each time: one that is ready is not read again, and the unknown task has failed
            // before.
            let result = || able.result::<i64>(id.clone());
            wait_until(&format!("{case} runs"), async || result().successful().await.unwrap()).await;
            assert_eq!(result().get().await.unwrap(), 3, "{case}");
        }
        until_dead(&able, count - 2).await;
        stop(running, StopKind::Warm).await;
    }

    async fn content_that_is_not_accepted_runs_once_it_is(fixture: &Fixture) {
        let store = SharedStore::new(fixture);
        let narrow = store.app().build().await.unwrap();
        let wide = store.app().setting("accept_content", ["json", "msgpack"]).build().await.unwrap();
        let call = wide.sig("tasks.add").args((20, 22)).call();
        let result = call.serializer("msgpack").send(&wide).await.unwrap();
        let sent = crate::fixture::only(&narrow).await;
        let running = worker(&narrow).await;
        until_dead(&narrow, 1).await;
        stop(running, StopKind::Warm).await;
        let dead_letter = dead_letters(&narrow).await.remove(0);
        assert_eq!(dead_letter.code, "content-type");
        assert!(dead_letter.reason.contains("msgpack") && dead_letter.reason.contains("accept_content"), "{}", dead_letter.reason);
        assert_unchanged(&dead_letter, &sent, "msgpack");
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);

        assert_eq!(dead(&wide).replay(vec![dead_letter.key]).await.unwrap(), 1);
        let running = worker(&wide).await;
        assert_eq!(value(&result).await.decode::<i64>().unwrap(), 42);
        stop(running, StopKind::Warm).await;
        assert_eq!(dead(&wide).count().await.unwrap(), 0);
    }

    async fn an_unknown_task_goes_to_the_dead_set_of_a_worker_without_results_too(fixture: &Fixture) {
        let memory = Arc::new(MemoryDriver::new());
        let app = App::builder("without results").driver(memory).autodiscover(false).broker(fixture.url());
        let app = app.build().await.unwrap();
        app.sig("no.such").send().await.unwrap();
        let running = worker(&app).await;
        until_dead(&app, 1).await;
        assert_eq!(dead_letters(&app).await[0].code, "unknown-task");
        stop(running, StopKind::Warm).await;
    }

    async fn bytes_that_are_no_message_are_dead_lettered_raw(fixture: &Fixture) {
        const RAW: &[u8] = b"\xff\x00 no message \x80";
        let store = SharedStore::new(fixture);
        let app = store.app().build().await.unwrap();
        if let Fixture::Sqlite(_) = fixture {
            app.sig("tasks.add").args((1, 1)).send().await.unwrap();
        }
        store.insert_unreadable(RAW, "its headers are no JSON");
        let running = worker(&app).await;
        until_dead(&app, 1).await;
        let dead_letter = dead_letters(&app).await.remove(0);
        assert_eq!((dead_letter.code.as_str(), dead_letter.queue.as_str()), ("undecodable", "celery"));
        // Redis stores no reason beside a list element; the error is found when the element is read.
        let reason = if let Fixture::Redis(..) = fixture { "envelope" } else { "its headers are no JSON" };
        assert!(dead_letter.reason.contains(reason), "{}", dead_letter.reason);
        assert_eq!((dead_letter.raw.as_deref(), dead_letter.message.as_ref()), (Some(RAW), None));

        // It does not hold up other messages, and after a replay it is dead-lettered unchanged.
        let sum = app.sig("tasks.add").args((2, 2)).send().await.unwrap();
        assert_eq!(value(&sum).await.decode::<i64>().unwrap(), 4);
        assert_eq!(dead(&app).replay(vec![dead_letter.key]).await.unwrap(), 1);
        wait_until("it is dead-lettered again", async || dead_letters(&app).await.iter().any(|second| second.key != dead_letter.key)).await;
        let second = dead_letters(&app).await.remove(0);
        assert_eq!((second.raw.as_deref(), second.code.as_str()), (Some(RAW), "undecodable"));
        stop(running, StopKind::Warm).await;
    }
}

on_rabbitmq! {
    each_captured_bad_message_goes_to_the_dead_set_with_its_reason
}
