//! Subscriptions against a real server.

use std::sync::Arc;
use std::time::Duration;

use apium_peers::redis::cmd;
use apium_peers::redis_server::RedisServer;
use apium_transport::address::Address;
use apium_transport::clock::Clock;
use apium_transport::driver::DriverOptions;
use apium_transport::error::{ErrorKind, Result};
use tokio::sync::mpsc;

use crate::options::backend::BackendOptions;
use crate::options::target::Target;
use crate::pubsub::channels::ChannelName;
use crate::pubsub::subscriber::{Subscriber, SubscriberEvent};

/// A subscriber with a short `socket_timeout`, and its events as texts.
fn subscriber(server: &RedisServer) -> (Arc<Subscriber>, mpsc::Receiver<String>) {
    subscriber_at(&server.url(0))
}

fn subscriber_at(url: &str) -> (Arc<Subscriber>, mpsc::Receiver<String>) {
    let mut options = DriverOptions::new(Clock::system());
    options.extra.insert("socket_timeout".to_owned(), "0.25".into());
    let target: Target = BackendOptions::read(&Address::parse(url).unwrap(), &options).unwrap().target;
    let (sender, events) = mpsc::channel(10_000);
    let listener = move |event| {
        let text = match event {
            SubscriberEvent::Connected => "connected".to_owned(),
            SubscriberEvent::Lost => "lost".to_owned(),
            SubscriberEvent::Message(message) => {
                format!("{} {}", message.channel, String::from_utf8_lossy(&message.payload))
            }
        };
        sender.try_send(text).unwrap();
    };
    (Arc::new(Subscriber::new(target.clone(), Clock::system(), target.answer_timeout * 2, Box::new(listener))), events)
}

async fn subscribe(subscriber: &Subscriber, names: Vec<ChannelName>) -> Result<()> {
    subscriber.need(&names);
    subscriber.confirmed().await
}

async fn next(events: &mut mpsc::Receiver<String>) -> String {
    soon("an event", events.recv()).await.unwrap()
}

/// Waits for a new connection, after at least one that was lost.
async fn connected_again(events: &mut mpsc::Receiver<String>) {
    assert_eq!(next(events).await, "lost");
    let mut event = "lost".to_owned();
    while event == "lost" {
        event = next(events).await;
    }
    assert_eq!(event, "connected");
}

async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

fn channel(name: &str) -> ChannelName {
    ChannelName::Channel(name.to_owned())
}

fn publish(server: &RedisServer, channel: &str, payload: &str) -> i64 {
    let client = apium_peers::redis::Client::open(server.url(0)).unwrap();
    cmd("PUBLISH").arg(channel).arg(payload).query(&mut client.get_connection().unwrap()).unwrap()
}

fn info(server: &RedisServer, section: &str) -> String {
    let client = apium_peers::redis::Client::open(server.url(0)).unwrap();
    cmd("INFO").arg(section).query(&mut client.get_connection().unwrap()).unwrap()
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = info(server, "commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|numbers| numbers.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn messages_of_channels_and_patterns_come_in_order() {
    let server = RedisServer::start();
    let (subscriber, mut events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a"), channel("b"), ChannelName::Pattern("p.*".to_owned())]).await.unwrap();
    assert_eq!(next(&mut events).await, "connected");
    for n in 0..10 {
        publish(&server, "a", &n.to_string());
    }
    assert_eq!(publish(&server, "p.x", "y"), 1);
    assert_eq!(publish(&server, "other", "z"), 0);
    for n in 0..10 {
        assert_eq!(next(&mut events).await, format!("a {n}"));
    }
    assert_eq!(next(&mut events).await, "p.x y");
}

#[tokio::test]
async fn what_is_needed_without_waiting_is_subscribed() {
    let server = RedisServer::start();
    let (subscriber, mut events) = subscriber(&server);
    subscriber.need_now(&[channel("a")]);
    assert_eq!(next(&mut events).await, "connected");
    subscriber.need_now(&[channel("b")]);
    soon("the subscription", async {
        while publish(&server, "b", "x") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(next(&mut events).await, "b x");
}

#[tokio::test]
async fn needs_are_counted_and_names_are_unsubscribed_together() {
    let server = RedisServer::start();
    let (subscriber, _events) = subscriber(&server);
    let names: Vec<ChannelName> = (0..100).map(|n| channel(&n.to_string())).collect();
    subscribe(&subscriber, names.clone()).await.unwrap();
    subscribe(&subscriber, vec![channel("7")]).await.unwrap();
    assert_eq!(calls(&server, "subscribe"), 1, "one that is subscribed is not subscribed again");
    for name in names {
        subscriber.unsubscribe(vec![name]);
    }
    let client = apium_peers::redis::Client::open(server.url(0)).unwrap();
    let mut connection = client.get_connection().unwrap();
    let remaining = async {
        loop {
            let remaining: Vec<String> = cmd("PUBSUB").arg("CHANNELS").query(&mut connection).unwrap();
            if remaining.len() == 1 {
                return remaining;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon("the end of the others", remaining).await, ["7"]);
    assert_eq!(calls(&server, "unsubscribe"), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_needs_nothing() {
    let server = RedisServer::start();
    let (subscriber, _events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    server.pause();
    let error = subscribe(&subscriber, vec![channel("b")]).await.unwrap_err();
    assert!(error.is_connection(), "{error}");
    subscriber.unsubscribe(vec![channel("b")]);
    server.resume();
    subscriber.need(&[channel("c")]);
    soon("the subscription", async { while subscriber.confirmed().await.is_err() {} }).await;
    assert_eq!((publish(&server, "a", ""), publish(&server, "b", ""), publish(&server, "c", "")), (1, 0, 1));
}

#[tokio::test]
async fn a_server_that_comes_back_is_subscribed_again() {
    let server = RedisServer::start();
    let (subscriber, mut events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a"), ChannelName::Pattern("p*".to_owned())]).await.unwrap();
    assert_eq!(next(&mut events).await, "connected");
    for _ in 0..2 {
        server.restart();
        connected_again(&mut events).await;
        assert!(subscriber.broken().is_none());
        assert_eq!((publish(&server, "a", "1"), publish(&server, "pp", "2")), (1, 1));
        assert_eq!(next(&mut events).await, "a 1");
        assert_eq!(next(&mut events).await, "pp 2");
    }
}

#[tokio::test]
async fn a_silent_server_is_noticed() {
    let server = RedisServer::start();
    let (subscriber, mut events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    assert_eq!(next(&mut events).await, "connected");
    server.pause();
    let noticed = async {
        while subscriber.broken().is_none() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the timeout", noticed).await;
    server.resume();
    connected_again(&mut events).await;
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let server = RedisServer::start();
    let (subscriber, _events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    assert_eq!(publish(&server, "a", ""), 1);
    subscriber.unsubscribe(vec![channel("a")]);
    let gone = async {
        while !info(&server, "clients").contains("connected_clients:1\r") {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the connection", gone).await;
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    assert_eq!(publish(&server, "a", ""), 1);
}

#[tokio::test]
async fn catching_up_waits_for_what_was_published() {
    let server = RedisServer::start();
    let (subscriber, mut events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    assert_eq!(next(&mut events).await, "connected");
    for round in 0..20 {
        let client = apium_peers::redis::Client::open(server.url(0)).unwrap();
        let mut pipe = apium_peers::redis::pipe();
        for n in 0..200 {
            pipe.cmd("PUBLISH").arg("a").arg(n);
        }
        let _: Vec<i64> = pipe.query(&mut client.get_connection().unwrap()).unwrap();
        subscriber.caught_up().await.unwrap();
        let mut count = 0;
        while events.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 200, "in round {round}");
    }
}

#[tokio::test]
async fn refusals_and_closing_are_errors() {
    let server = RedisServer::builder().password("secret").start();
    let mut options = DriverOptions::new(Clock::system());
    options.extra.insert("socket_timeout".to_owned(), "5".into());
    let bare = format!("redis://127.0.0.1:{}/0", server.port());
    let target = BackendOptions::read(&Address::parse(&bare).unwrap(), &options).unwrap().target;
    let refused = Subscriber::new(target, Clock::system(), Duration::from_secs(10), Box::new(|_| {}));
    let error = subscribe(&refused, vec![channel("a")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");

    let (subscriber, _events) = subscriber(&server);
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    server.pause();
    let waiting = subscribe(&subscriber, vec![channel("b")]);
    let (error, ()) = tokio::join!(waiting, async { subscriber.close() });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(subscribe(&subscriber, vec![channel("b")]).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// Sets which channels the user `limited` may use.
fn allow(server: &RedisServer, channels: &[&str]) {
    let client = apium_peers::redis::Client::open(server.url(0)).unwrap();
    let mut command = cmd("ACL");
    command.arg("SETUSER").arg("limited").arg("on").arg(">word").arg("+@all").arg("resetchannels").arg(channels);
    let () = command.query(&mut client.get_connection().unwrap()).unwrap();
}

#[tokio::test]
async fn a_refused_channel_does_not_hold_up_others_and_is_tried_until_it_is_allowed() {
    let server = RedisServer::start();
    allow(&server, &["&a", "&b"]);
    let (subscriber, mut events) = subscriber_at(&format!("redis://limited:word@127.0.0.1:{}/0", server.port()));
    let names = vec![channel("a"), channel("no"), ChannelName::Pattern("p*".to_owned()), channel("b")];
    let error = subscribe(&subscriber, names).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(next(&mut events).await, "connected");
    let (_, reason) = subscriber.broken().expect("not all is subscribed");
    assert!(reason.contains("its ACL needs"), "{reason}");
    assert_eq!(["a", "no", "px", "b"].map(|name| publish(&server, name, "1")), [1, 0, 0, 1]);
    assert_eq!((next(&mut events).await, next(&mut events).await), ("a 1".to_owned(), "b 1".to_owned()));
    // Another one that is allowed is no error.
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    allow(&server, &["&*"]);
    // Changed rights end the connection of a user, or leave it; in both cases all is subscribed in the end.
    soon("all channels", async {
        while subscriber.broken().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    connected_again(&mut events).await;
    assert_eq!(["a", "no", "px", "b"].map(|name| publish(&server, name, "2")), [1; 4]);
}

#[tokio::test]
async fn a_refused_channel_that_nobody_needs_any_more_is_forgotten() {
    let server = RedisServer::start();
    allow(&server, &["&a"]);
    let (subscriber, mut events) = subscriber_at(&format!("redis://limited:word@127.0.0.1:{}/0", server.port()));
    subscribe(&subscriber, vec![channel("a")]).await.unwrap();
    assert_eq!(next(&mut events).await, "connected");
    assert_eq!(subscribe(&subscriber, vec![channel("no")]).await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(subscriber.broken().is_some());
    subscriber.unsubscribe(vec![channel("no")]);
    soon("the end of the trouble", async {
        while subscriber.broken().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(publish(&server, "a", "1"), 1);
}
