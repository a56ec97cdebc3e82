//! No message is dropped because it could not be read: it lies in the dead set with the reason and its bytes, and can be replayed.

use std::path::Path;
use std::sync::Arc;

use apium::driver::{Address, Clock, DeadLetter, DeadSet, DriverOptions, MemoryDriver, Outgoing};
use apium::message::{Compression, Headers, Message, Properties, base64};
use apium::prelude::*;
use apium::task::Parameter;
use apium::worker::{StopKind, WorkerHandle};
use apium_peers::redis::Commands;
use bytes::Bytes;

use crate::ground::Ground;
use crate::live::{live, start, stop, until, value};

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

/// The compression that one of the captured messages names and nobody knew: it leaves bytes as they are.
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

/// A message that was published to a worker of Celery to break it.
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

/// What becomes of each, and a word of the reason; of the others the worker makes a task.
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

/// One store that several apps open.
struct World<'a> {
    ground: &'a Ground,
    memory: Arc<MemoryDriver>,
}

impl<'a> World<'a> {
    fn new(ground: &'a Ground) -> Self {
        Self { ground, memory: Arc::new(MemoryDriver::new()) }
    }

    fn app(&self) -> AppBuilder {
        live(self.ground).driver(self.memory.clone()).register_task(Add::<false>)
    }

    /// Puts bytes that are no message on the queue.
    fn plant(&self, raw: &'static [u8], reason: &str) {
        match self.ground {
            Ground::Memory => {
                let address = Address::parse(&self.ground.url()).unwrap();
                let options = DriverOptions::new(Clock::system());
                self.memory.insert_unreadable(&address, &options, "celery", Bytes::from_static(raw), reason);
            }
            Ground::Sqlite(dir) => {
                let file = rusqlite::Connection::open(dir.path().join("queue.db")).unwrap();
                // The headers of the one message there are lost.
                let spoilt = "UPDATE message SET exchange = NULL, routing_key = NULL, headers = NULL, properties = ?1, body = ?2";
                assert_eq!(file.execute(spoilt, rusqlite::params![reason, raw]).unwrap(), 1);
            }
            Ground::Redis(database, _) => {
                let () = database.connection().lpush("celery", raw).unwrap();
            }
        }
    }
}

fn dead(app: &App) -> &dyn DeadSet {
    app.broker().dead().unwrap()
}

async fn letters(app: &App) -> Vec<DeadLetter> {
    dead(app).list(0, 100).await.unwrap()
}

async fn until_dead(app: &App, count: u64) {
    until(&format!("{count} in the dead set"), async || dead(app).count().await.unwrap() == count).await;
}

/// The letter of a message: its body and properties are those that were published.
fn assert_kept(letter: &DeadLetter, sent: &Message, case: &str) {
    let kept = letter.message.as_ref().unwrap_or_else(|| panic!("{case} is kept as a message"));
    assert_eq!((&kept.body, &kept.properties, &kept.headers), (&sent.body, &sent.properties, &sent.headers), "{case}");
    let id = sent.headers.id.as_ref().map(TaskId::as_str).or(sent.properties.correlation_id.as_deref());
    assert_eq!(letter.task_id.as_deref(), id, "{case}");
    assert_eq!(letter.task.as_deref(), sent.headers.task.as_deref(), "{case}");
    assert_eq!((letter.raw.as_ref(), letter.queue.as_str()), (None, "celery"), "{case}");
}

/// Publishes a message as it was captured.
async fn publish(app: &App, message: &Message) {
    app.broker().publish(vec![Outgoing::to_queue("celery", message.clone())]).await.unwrap();
}

/// Waits until a task is over, and tells its state.
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
    async fn promise_12_each_captured_bad_message_is_kept_with_its_reason(ground: &Ground) {
        let world = World::new(ground);
        let app = world.app().build().await.unwrap();
        let running = worker(&app).await;
        let cases = captured();
        assert!(DEAD.iter().all(|(name, ..)| cases.iter().any(|captured| captured.case == *name)));
        let mut count = 0;
        for Captured { case, message, state } in &cases {
            publish(&app, message).await;
            let Some((_, code, word)) = DEAD.iter().find(|(name, ..)| name == case) else {
                // Sound enough for Celery's workers, or an end that they store.
                let stored = state_of(&app, message).await;
                let expected = if case == "kwargs_not_mapping" { "SUCCESS" } else { state.as_deref().unwrap() };
                assert_eq!(stored.as_str(), expected, "{case}");
                continue;
            };
            count += 1;
            until_dead(&app, count).await;
            let letter = letters(&app).await.pop().unwrap();
            assert_eq!(letter.code, *code, "{case}: {}", letter.reason);
            assert!(letter.reason.contains(word), "{case}: {}", letter.reason);
            assert_kept(&letter, message, case);
            if let Some(id) = &message.headers.id {
                let wanted = state.as_deref().unwrap_or("PENDING");
                let stored = async || app.result::<Json>(id.clone()).state().await.unwrap();
                until(&format!("{case} is {wanted}"), async || stored().await.as_str() == wanted).await;
            }
        }
        stop(running, StopKind::Warm).await;

        // Replayed to the same worker they are as they were; to one that knows more, those run that can.
        let before = letters(&app).await;
        let keys = |letters: &[DeadLetter]| letters.iter().map(|letter| letter.key).collect::<Vec<_>>();
        assert_eq!(dead(&app).replay(keys(&before)).await.unwrap(), count);
        assert_eq!(dead(&app).count().await.unwrap(), 0);
        let running = worker(&app).await;
        until_dead(&app, count).await;
        stop(running, StopKind::Warm).await;
        let after = letters(&app).await;
        for old in &before {
            let same = |new: &&DeadLetter| (&new.code, &new.message) == (&old.code, &old.message);
            assert_eq!(after.iter().filter(same).count(), 1, "{old:?}");
        }

        let able = world.app().register_task(Add::<true>).compression(Foo).build().await.unwrap();
        assert_eq!(dead(&able).replay(keys(&after)).await.unwrap(), count);
        let running = worker(&able).await;
        for case in ["unknown_task", "unknown_compression"] {
            let message = &cases.iter().find(|captured| captured.case == case).unwrap().message;
            let id = message.headers.id.clone().unwrap();
            // Looked up anew each time: a result that is ready is not asked for again, and the unknown task has failed once.
            let result = || able.result::<i64>(id.clone());
            until(&format!("{case} runs"), async || result().successful().await.unwrap()).await;
            assert_eq!(result().get().await.unwrap(), 3, "{case}");
        }
        until_dead(&able, count - 2).await;
        stop(running, StopKind::Warm).await;
    }

    async fn promise_12_content_that_is_not_accepted_runs_once_it_is(ground: &Ground) {
        let world = World::new(ground);
        let narrow = world.app().build().await.unwrap();
        let wide = world.app().setting("accept_content", ["json", "msgpack"]).build().await.unwrap();
        let call = wide.sig("tasks.add").args((20, 22)).call();
        let result = call.serializer("msgpack").send(&wide).await.unwrap();
        let sent = crate::ground::only(&narrow).await;
        let running = worker(&narrow).await;
        until_dead(&narrow, 1).await;
        stop(running, StopKind::Warm).await;
        let letter = letters(&narrow).await.remove(0);
        assert_eq!(letter.code, "content-type");
        assert!(letter.reason.contains("msgpack") && letter.reason.contains("accept_content"), "{}", letter.reason);
        assert_kept(&letter, &sent, "msgpack");
        assert_eq!(result.state().await.unwrap(), TaskState::Pending);

        assert_eq!(dead(&wide).replay(vec![letter.key]).await.unwrap(), 1);
        let running = worker(&wide).await;
        assert_eq!(value(&result).await.decode::<i64>().unwrap(), 42);
        stop(running, StopKind::Warm).await;
        assert_eq!(dead(&wide).count().await.unwrap(), 0);
    }

    async fn promise_12_bytes_that_are_no_message_are_kept_raw(ground: &Ground) {
        const RAW: &[u8] = b"\xff\x00 no message \x80";
        let world = World::new(ground);
        let app = world.app().build().await.unwrap();
        if let Ground::Sqlite(_) = ground {
            app.sig("tasks.add").args((1, 1)).send().await.unwrap();
        }
        world.plant(RAW, "its headers are no JSON");
        let running = worker(&app).await;
        until_dead(&app, 1).await;
        let letter = letters(&app).await.remove(0);
        assert_eq!((letter.code.as_str(), letter.queue.as_str()), ("undecodable", "celery"));
        // Redis keeps no reason beside an element of a list: what is wrong with it shows when it is read.
        let reason = if let Ground::Redis(..) = ground { "envelope" } else { "its headers are no JSON" };
        assert!(letter.reason.contains(reason), "{}", letter.reason);
        assert_eq!((letter.raw.as_deref(), letter.message.as_ref()), (Some(RAW), None));

        // It does not stand in the way of others, and comes back as it was.
        let sum = app.sig("tasks.add").args((2, 2)).send().await.unwrap();
        assert_eq!(value(&sum).await.decode::<i64>().unwrap(), 4);
        assert_eq!(dead(&app).replay(vec![letter.key]).await.unwrap(), 1);
        until("it is back", async || letters(&app).await.iter().any(|again| again.key != letter.key)).await;
        let again = letters(&app).await.remove(0);
        assert_eq!((again.raw.as_deref(), again.code.as_str()), (Some(RAW), "undecodable"));
        stop(running, StopKind::Warm).await;
    }
}
