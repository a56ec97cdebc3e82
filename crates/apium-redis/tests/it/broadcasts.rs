//! Broadcasts on kombu's channels and lists: compared with what Celery 5.7 writes, read by a real Celery, and with a
//! server that goes and comes back.

use std::time::Duration;

use apium_peers::celery::CeleryWorker;
use apium_peers::python::run_python;
use apium_peers::redis::{Commands, Connection, Value, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::text::Json;
use apium_protocol::message::control::{ControlReply, ControlRequest, ReplyAddress};
use apium_protocol::message::envelope::Envelope;
use apium_redis::RedisBroker;
use apium_transport::broker::broadcast::{Broadcast as _, BroadcastExchange, Mailbox, MailboxSpec, Received};
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::ErrorKind;
use bytes::Bytes;

use crate::brokers::{broker, broker_with, fresh_broker, keys, message, to, with_short_timeout};
use crate::kit::{connection, ran, soon, text, until, vector};

const CALLER: &str = "cb8e94db-3e6c-34f1-aa73-4f231e48f103";

pub(crate) fn requests() -> BroadcastExchange {
    BroadcastExchange::new("celery.pidbox", ExchangeType::Fanout)
}

fn events() -> BroadcastExchange {
    BroadcastExchange::new("celeryev", ExchangeType::Topic)
}

fn replies() -> BroadcastExchange {
    BroadcastExchange::new("reply.celery.pidbox", ExchangeType::Direct)
}

async fn listen(broker: &RedisBroker, exchange: BroadcastExchange, queue: &str, binding: &str) -> Box<dyn Mailbox> {
    soon("a mailbox", broker.listen(MailboxSpec::new(exchange, queue, binding))).await.unwrap()
}

/// The mailbox of a worker for requests.
pub(crate) async fn node(broker: &RedisBroker) -> Box<dyn Mailbox> {
    listen(broker, requests(), "rust@test.celery.pidbox", "").await
}

async fn caller(broker: &RedisBroker) -> Box<dyn Mailbox> {
    listen(broker, replies(), &format!("{CALLER}.reply.celery.pidbox"), CALLER).await
}

async fn next(mailbox: &mut Box<dyn Mailbox>) -> Received {
    soon("a broadcast", mailbox.next()).await.unwrap()
}

async fn one(mailbox: &mut Box<dyn Mailbox>) -> (String, String) {
    let received = next(mailbox).await;
    let [broadcasted] = &received.messages[..] else { panic!("{received:?}") };
    (broadcasted.routing_key.to_string(), String::from_utf8_lossy(&broadcasted.message.body).into_owned())
}

fn named(key: &str, name: &str) -> Outgoing {
    Outgoing::new("".into(), key.into(), to("", name).message)
}

async fn send(broker: &RedisBroker, exchange: &BroadcastExchange, key: &str, name: &str) {
    soon("a broadcast", broker.send(exchange, vec![named(key, name)])).await.unwrap();
}

/// A mailbox of every kind.
pub(crate) struct Mailboxes([(BroadcastExchange, &'static str, Box<dyn Mailbox>); 3]);

impl Mailboxes {
    /// Those of a worker, of a monitor, and of a caller that waits for replies.
    pub(crate) async fn open(broker: &RedisBroker) -> Self {
        let monitor = listen(broker, events(), "celeryev.1", "task.#").await;
        Self([
            (requests(), "", node(broker).await),
            (events(), "task.sent", monitor),
            (replies(), CALLER, caller(broker).await),
        ])
    }

    /// `sender` sends to each again and again until it is heard: what is sent before a lost subscription is back is
    /// lost. Returns which of them said that it may have missed something.
    pub(crate) async fn receive_from(&mut self, sender: &RedisBroker) -> [bool; 3] {
        let mut missed = [false; 3];
        for ((exchange, key, mailbox), missed) in self.0.iter_mut().zip(&mut missed) {
            let sending = async {
                let mut interval = tokio::time::interval(Duration::from_millis(20));
                loop {
                    interval.tick().await;
                    if let Err(error) = sender.send(exchange, vec![named(key, "m")]).await {
                        assert!(error.is_retryable(), "{error:#}");
                    }
                }
            };
            tokio::select! {
                received = next(mailbox) => *missed = received.missed,
                () = sending => {}
            }
        }
        missed
    }
}

fn outgoing(element: &str) -> Outgoing {
    let decoded = Envelope::decode(&Bytes::copy_from_slice(element.as_bytes())).unwrap();
    Outgoing::new(decoded.exchange.unwrap(), decoded.routing_key.unwrap(), decoded.message)
}

fn untagged(element: &str) -> String {
    let (before, after) = element.split_once("\"delivery_tag\": \"").unwrap();
    format!("{before}{}", after.split_once('"').unwrap().1)
}

/// The same as a document, for headers in another order.
fn without_tag(element: &str) -> serde_json::Value {
    let mut element: serde_json::Value = serde_json::from_str(element).unwrap();
    element["properties"].as_object_mut().unwrap().remove("delivery_tag").unwrap();
    element
}

#[tokio::test]
async fn requests_events_and_replies_are_celerys() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(13));
    let mut hearing = redis.as_pubsub();
    hearing.psubscribe("*").unwrap();
    let (ping, batch) = (vector("control_ping"), vector("event_batch"));
    let (mut node, mut monitor) = (node(&broker).await, listen(&broker, events(), "celeryev.1", "#").await);
    for (exchange, vector, path, mailbox) in
        [(requests(), &ping, "/redis/request/0", &mut node), (events(), &batch, "/redis/0", &mut monitor)]
    {
        let (raw, channel) = (text(vector, &format!("{path}/raw")), text(vector, &format!("{path}/channel")));
        let mut sent = outgoing(raw);
        if exchange == requests() {
            let expires = 1_795_361_039.896_942_9;
            sent.message = ControlRequest::from_json(&sent.message.body).unwrap().to_message(1, expires);
        }
        broker.send(&exchange, vec![sent.clone()]).await.unwrap();
        let heard = hearing.get_message().unwrap();
        assert_eq!(heard.get_channel_name(), channel);
        assert_eq!(untagged(&heard.get_payload::<String>().unwrap()), untagged(raw));
        // And what Celery sends is heard.
        let mut other = connection(&server);
        let heard_by: usize = other.publish(channel, raw).unwrap();
        assert!(heard_by >= 2);
        assert_eq!(hearing.get_message().unwrap().get_channel_name(), channel);
        let mut received = next(mailbox).await.messages;
        while received.len() < 2 {
            received.extend(next(mailbox).await.messages);
        }
        for message in received {
            assert_eq!((&message.message.body, &message.routing_key), (&sent.message.body, &sent.routing_key));
            assert_eq!(message.message.properties, sent.message.properties);
        }
    }
    let (raw, list) = (text(&ping, "/redis/replies/0/raw"), text(&ping, "/redis/replies/0/key"));
    let mut sent = outgoing(raw);
    assert_eq!(*sent.routing_key, *CALLER);
    let ticket = text(&ping, "/redis/replies/0/raw").split("\"ticket\": \"").nth(1).and_then(|t| t.split('"').next());
    sent.message = ControlReply::message("w1@wirespec", &Json::from_text(r#"{"ok": "pong"}"#).unwrap(), ticket, 3);
    let mut caller = caller(&broker).await;
    let mut redis = redis_of(&server, 13);
    broker.send(&replies(), vec![sent.clone()]).await.unwrap();
    let written: Vec<String> = redis.lrange(list, 0, -1).unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(without_tag(&written[0]), without_tag(raw));
    let () = redis.lpush(list, raw).unwrap();
    let received = next(&mut caller).await;
    assert_eq!(received.messages.len(), 2);
    for reply in received.messages {
        assert_eq!((&reply.message.body, &*reply.routing_key), (&sent.message.body, CALLER));
    }
    let bound: Vec<String> = redis.smembers("_kombu.binding.reply.celery.pidbox").unwrap();
    assert_eq!(bound, [format!("{CALLER}\u{6}\u{16}\u{6}\u{16}{list}")]);
}

fn redis_of(server: &RedisServer, database: u32) -> Connection {
    apium_peers::redis::Client::open(server.url(database)).unwrap().get_connection().unwrap()
}

#[tokio::test]
async fn the_channels_and_keys_are_options() {
    for (options, channel, event) in [
        (&[][..], "/13.celery.pidbox", "/13.celeryev/task.sent"),
        (&[("fanout_prefix", "/my-{db}.")], "/my-13.celery.pidbox", "/my-13.celeryev/task.sent"),
        (&[("fanout_prefix", "false"), ("fanout_patterns", "false")], "celery.pidbox", "celeryev"),
        (&[("global_keyprefix", "{app}:")], "{app}:/13.celery.pidbox", "{app}:/13.celeryev/task.sent"),
    ] {
        let server = RedisServer::start();
        let broker = broker_with(&server.url(13), options);
        let mut redis = redis_of(&server, 13);
        let (mut node, mut monitor) = (node(&broker).await, listen(&broker, events(), "celeryev.1", "task.#").await);
        let mut caller = caller(&broker).await;
        for (exchange, key, mailbox) in
            [(requests(), "", &mut node), (events(), "task.sent", &mut monitor), (replies(), CALLER, &mut caller)]
        {
            send(&broker, &exchange, key, "m").await;
            assert_eq!(one(mailbox).await, (key.to_owned(), "m".to_owned()));
        }
        send(&broker, &events(), "worker.online", "not for it").await;
        for (name, key) in [(channel, ""), (event, "task.sent")] {
            let raw = String::from_utf8(encoded(key, name)).unwrap();
            assert_eq!(redis.publish::<_, _, usize>(name, raw).unwrap(), 1, "{name}");
        }
        assert_eq!(one(&mut node).await.1, channel);
        assert_eq!(one(&mut monitor).await, ("task.sent".to_owned(), event.to_owned()));
        let prefix = options.iter().find(|(name, _)| *name == "global_keyprefix").map_or("", |(_, prefix)| prefix);
        assert!(keys(&mut redis, "*").iter().all(|key| key.starts_with(prefix)));
    }
}

fn encoded(key: &str, name: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    apium_protocol::message::envelope::encode(&named("", name).message, "x", key, name, &mut raw);
    raw
}

#[tokio::test]
async fn a_mailbox_leaves_nothing() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let (node, caller) = (node(&broker).await, caller(&broker).await);
    send(&broker, &replies(), CALLER, "unread").await;
    assert_eq!(keys(&mut redis, "*").len(), 4);
    assert!(redis.pttl::<_, i64>(format!("{CALLER}.reply.celery.pidbox")).unwrap() > 0);
    drop((node, caller));
    // What remains says when kombu is to look after the bindings of an exchange.
    until("nothing", || keys(&mut redis, "*") == ["_kombu.binding_deadlines"]).await;
    let channels = |redis: &mut Connection| cmd("PUBSUB").arg("CHANNELS").query::<Vec<String>>(redis).unwrap();
    until("no channel", || channels(&mut redis).is_empty()).await;
    // The keys are those of a mailbox that is open when its broker is closed, too.
    let again = self::caller(&broker).await;
    assert_eq!(keys(&mut redis, "*").len(), 3);
    soon("closing", broker.close()).await.unwrap();
    assert_eq!(keys(&mut redis, "*"), ["_kombu.binding_deadlines"]);
    drop(again);
}

#[tokio::test]
async fn a_caller_that_died_is_forgotten() {
    let (mut redis, broker) = fresh_broker();
    std::mem::forget(caller(&broker).await);
    send(&broker, &replies(), CALLER, "for nobody").await;
    let deadline: f64 = redis.zscore("_kombu.binding_deadlines", "reply.celery.pidbox").unwrap();
    let [mailbox] = &redis.zrange::<_, Vec<String>>("_apium.mailboxes", 0, -1).unwrap()[..] else { panic!("one") };
    let open_until: f64 = redis.zscore("_apium.mailboxes", mailbox).unwrap();
    let seconds: u64 = cmd("TIME").query::<(u64, u64)>(&mut redis).unwrap().0;
    let now = seconds as f64 * 1000.0;
    assert!((3500e3..3700e3).contains(&(deadline - now)), "kombu keeps its binding for an hour: {deadline} at {now}");
    assert!((1700e3..1900e3).contains(&(open_until - now)), "{open_until} at {now}");
    // Half an hour later.
    let () = redis.zadd("_apium.mailboxes", mailbox, 1).unwrap();
    let _other = listen(&broker, replies(), "other.reply.celery.pidbox", "other").await;
    let bound: Vec<String> = redis.smembers("_kombu.binding.reply.celery.pidbox").unwrap();
    assert_eq!(bound, ["other\u{6}\u{16}\u{6}\u{16}other.reply.celery.pidbox"]);
    assert_eq!(keys(&mut redis, "*reply*"), ["_kombu.binding.reply.celery.pidbox"]);
}

#[tokio::test]
async fn a_reply_goes_to_every_queue_that_has_its_key() {
    let (mut redis, broker) = fresh_broker();
    for queue in ["odd.name", "other.name"] {
        let member = format!("{CALLER}\u{6}\u{16}\u{6}\u{16}{queue}");
        let () = redis.sadd("_kombu.binding.reply.celery.pidbox", member).unwrap();
    }
    broker.send(&replies(), vec![named(CALLER, "a"), named("nobody", "b"), named(CALLER, "c")]).await.unwrap();
    for queue in ["odd.name", "other.name"] {
        let found: Vec<String> = redis.lrange(queue, 0, -1).unwrap();
        assert_eq!(found.len(), 2);
    }
    assert_eq!(keys(&mut redis, "nobody*"), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_message_is_left_out() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let (mut node, mut caller) = (node(&broker).await, caller(&broker).await);
    let list = format!("{CALLER}.reply.celery.pidbox");
    for junk in [&b"\xff\xfe"[..], b"", b"[]", b"{\"body\": 7", b"\n2026 INFO all is well", b"null"] {
        assert_eq!(redis.publish::<_, _, usize>("/0.celery.pidbox", junk).unwrap(), 1);
        let () = redis.lpush(&list, junk).unwrap();
    }
    send(&broker, &requests(), "", "good").await;
    send(&broker, &replies(), CALLER, "good").await;
    assert_eq!(one(&mut node).await.1, "good");
    assert_eq!(one(&mut caller).await.1, "good");
}

/// Closes the connections of a broker that subscribe, or the others.
fn kill(redis: &mut Connection, subscribing: bool) {
    let kind = if subscribing { "pubsub" } else { "normal" };
    let _: Value = cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes").query(redis).unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_told_once() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let (mut node, mut caller) = (node(&broker).await, caller(&broker).await);
    for round in 0..2 {
        kill(&mut redis, true);
        until("new subscriptions", || {
            cmd("PUBSUB").arg("NUMSUB").arg("/0.celery.pidbox").query::<(String, usize)>(&mut redis).unwrap().1 == 1
        })
        .await;
        let missed = soon("a broadcast after the break", async {
            loop {
                send(&broker, &requests(), "", "m").await;
                let received = next(&mut node).await;
                assert!(!received.messages.is_empty());
                if received.missed {
                    break true;
                }
            }
        });
        assert!(missed.await, "{round}");
        send(&broker, &requests(), "", "m").await;
        assert!(!next(&mut node).await.missed, "it is said twice");
    }
    // A caller that waits goes on waiting, and a server that has lost its data gets the binding again.
    let (received, ()) = tokio::join!(next(&mut caller), async {
        until("a question", || ran(&mut redis, &["rpop"]) > 0).await;
        let () = cmd("FLUSHALL").query(&mut redis).unwrap();
        kill(&mut redis, false);
        until("a binding", || keys(&mut redis, "_kombu.binding.reply*").len() == 1).await;
        soon("a reply", async { while broker.send(&replies(), vec![named(CALLER, "m")]).await.is_err() {} }).await;
    });
    assert!(received.missed);
    send(&broker, &replies(), CALLER, "m").await;
    assert!(!next(&mut caller).await.missed);
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = RedisServer::start();
    let broker = with_short_timeout(&server.url(0));
    let (mut node, mut caller) = (node(&broker).await, caller(&broker).await);
    let both = async { tokio::join!(next(&mut node), next(&mut caller)) };
    let sending = async {
        server.restart();
        loop {
            let request = broker.send(&requests(), vec![named("", "m")]).await;
            let reply = broker.send(&replies(), vec![named(CALLER, "m")]).await;
            for error in [request, reply].into_iter().filter_map(Result::err) {
                assert!(error.is_retryable(), "{error:#}");
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (request, reply) = soon("both", both) => assert!(request.missed && reply.missed),
        () = sending => {}
    }
}

#[tokio::test]
async fn a_list_is_asked_only_while_somebody_waits() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let mut caller = caller(&broker).await;
    for _ in 0..50 {
        send(&broker, &requests(), "", "m").await;
    }
    assert_eq!(ran(&mut redis, &["rpop"]), 0);
    tokio::select! {
        received = caller.next() => panic!("it hears {received:?}"),
        () = until("three questions", || ran(&mut redis, &["rpop"]) >= 3) => {}
    }
    // A question that was under way when the waiting ended may still come.
    let asked = ran(&mut redis, &["rpop"]);
    for _ in 0..50 {
        send(&broker, &requests(), "", "m").await;
    }
    assert!(ran(&mut redis, &["rpop"]) <= asked + 1);
    send(&broker, &replies(), CALLER, "m").await;
    assert_eq!(one(&mut caller).await.1, "m");
}

#[tokio::test]
async fn a_server_that_refuses_says_why() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut caller = caller(&broker).await;
    let limit = |redis: &mut Connection, limit: &str| {
        let () = cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).query(redis).unwrap();
    };
    limit(&mut redis, "1");
    let refused = broker.send(&replies(), vec![named(CALLER, "m")]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:#}");
    assert!(format!("{refused:#}").contains("raise maxmemory"), "{refused:#}");
    // Requests need no memory, and mailboxes next to none.
    send(&broker, &requests(), "", "m").await;
    drop(listen(&broker, replies(), "other", "other").await);
    until("the deletion", || keys(&mut redis, "*").len() == 3).await;
    limit(&mut redis, "0");
    send(&broker, &replies(), CALLER, "m").await;
    assert_eq!(one(&mut caller).await.1, "m");
    let mut allow = cmd("ACL");
    allow.arg("SETUSER").arg("deaf").arg("on").arg(">pw").arg("~*").arg("resetchannels").arg("+@all");
    let () = allow.query(&mut redis).unwrap();
    let deaf = self::broker(&format!("redis://deaf:pw@127.0.0.1:{}/0", server.port()));
    let unheard = deaf.listen(MailboxSpec::new(requests(), "q", "")).await.map(drop).unwrap_err();
    let unsent = deaf.send(&requests(), vec![named("", "m")]).await.unwrap_err();
    for error in [unheard, unsent] {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:#}");
        assert!(!format!("{error:#} {error:?}").contains("pw"), "{error:#}");
    }
    let () = redis.set("_kombu.binding.reply.celery.pidbox", "not yours").unwrap();
    let error = broker.send(&replies(), vec![named(CALLER, "m")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
}

#[tokio::test]
async fn a_broadcast_queue_and_a_listener_hear_the_same_exchange() {
    use apium_transport::broker::topology::{Queue, Topology};
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    let queue = Queue::new("own").exchange("news", ExchangeType::Fanout);
    broker.declare(&Topology::new(vec![queue])).await.unwrap();
    let exchange = BroadcastExchange::new("news", ExchangeType::Fanout);
    let mut listener = listen(&broker, exchange, "listener", "").await;
    let mut consumer = crate::brokers::consumer(&broker, "own").await;
    until("the subscriptions", || cmd("PUBSUB").arg("CHANNELS").query::<Vec<String>>(&mut redis).unwrap().len() == 2)
        .await;
    let heard_by: usize = redis.publish("/0.news", encoded("", "from kombu")).unwrap();
    assert_eq!(heard_by, 1, "one connection subscribes to all");
    let delivered = crate::brokers::take(&mut consumer, 1).await;
    assert_eq!(&message(&delivered[0]).body[..], b"from kombu");
    assert_eq!(one(&mut listener).await.1, "from kombu");
    drop(listener);
    let heard_by: usize = redis.publish("/0.news", encoded("", "again")).unwrap();
    assert_eq!(heard_by, 1, "the queue still needs the channel");
    assert_eq!(&message(&crate::brokers::take(&mut consumer, 1).await[0]).body[..], b"again");
}

/// A worker that answers `ping` once, and shuts its ears.
async fn answer_one_ping(broker: &RedisBroker, node: &mut Box<dyn Mailbox>) -> ControlRequest {
    let received = next(node).await;
    let request = ControlRequest::from_json(&received.messages[0].message.body).unwrap();
    let reply_to = request.reply_to.clone().expect("it wants a reply");
    let pong = Json::from_text(r#"{"ok": "pong"}"#).unwrap();
    let message = ControlReply::message("rust@test", &pong, request.ticket.as_deref(), 1);
    let exchange = BroadcastExchange::new(reply_to.exchange, ExchangeType::Direct);
    broker.send(&exchange, vec![Outgoing::new("".into(), reply_to.routing_key.into(), message)]).await.unwrap();
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn celery_asks_and_hears_the_answer() {
    let database = fresh_database();
    let broker = broker(&database.url);
    let mut node = node(&broker).await;
    let url = database.url.clone();
    let celery = tokio::task::spawn_blocking(move || {
        let ask = "from tasks import app; print(app.control.ping(timeout=20, limit=1))";
        run_python(["-c", ask], &[("BROKER_URL", &url)]).text().to_owned()
    });
    let request = answer_one_ping(&broker, &mut node).await;
    assert_eq!((request.method.as_str(), request.destination), ("ping", None));
    assert_eq!(soon("Celery", celery).await.unwrap(), "[{'rust@test': {'ok': 'pong'}}]");
    let mut redis = database.connection();
    let left = keys(&mut redis, "*reply*");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn celery_answers_and_sends_events() {
    let database = fresh_database();
    let broker = broker(&database.url);
    let mut monitor = listen(&broker, events(), "celeryev.1", "worker.#").await;
    let url = database.url.clone();
    let start = move || CeleryWorker::builder().urls(&url, &url).args(["-n", "py@test", "-E"]).start();
    let worker = tokio::task::spawn_blocking(start).await.unwrap();
    let received = soon("an event", monitor.next()).await.unwrap();
    assert!(received.messages[0].routing_key.starts_with("worker."));
    let mut caller = caller(&broker).await;
    let mut request = ControlRequest::new("ping", Vec::new());
    request.ticket = Some("ticket".to_owned());
    request.reply_to = Some(ReplyAddress::new("reply.celery.pidbox", CALLER));
    let (key, body) = soon("a pong", async {
        loop {
            // A worker of Celery says that it is there before it listens to requests.
            let ping = Outgoing::new("".into(), "".into(), request.to_message(1, 0.0));
            broker.send(&requests(), vec![ping]).await.unwrap();
            if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), one(&mut caller)).await {
                break answer;
            }
        }
    })
    .await;
    assert_eq!((key.as_str(), body.as_str()), (CALLER, r#"{"py@test": {"ok": "pong"}}"#));
    drop(worker);
}

#[tokio::test]
async fn the_longest_wait_is_short() {
    // A reply that comes after a long silence is found at once, compared with what a person notices.
    let (mut redis, broker) = fresh_broker();
    let mut caller = caller(&broker).await;
    let before = ran(&mut redis, &["rpop"]);
    let (received, sent) = tokio::join!(next(&mut caller), async {
        until("many questions", || ran(&mut redis, &["rpop"]) >= before + 12).await;
        send(&broker, &replies(), CALLER, "m").await;
        std::time::Instant::now()
    });
    assert_eq!(received.messages.len(), 1);
    assert!(sent.elapsed() < Duration::from_secs(5));
}
