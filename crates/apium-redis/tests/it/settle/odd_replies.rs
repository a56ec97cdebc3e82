//! Settlements whose reply makes no sense, or is not waited for: the delivery stays in flight until the server has said
//! what became of it, and a second attempt succeeds.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apium_peers::redis_server::RedisServer;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use apium_transport::error::ErrorKind;
use futures_util::FutureExt as _;

use crate::brokers::{ack, finish, keys, names, receipts, send, spec, take, with_short_timeout};
use crate::kit::{connection, soon};

/// Passes bytes on between clients and a server. While it garbles, it replaces each empty list by a list of one text.
struct Garbler {
    port: u16,
    garbles: Arc<AtomicBool>,
}

impl Garbler {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, garbles) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let shared = garbles.clone();
        // It ends with the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || carry(from, to, &AtomicBool::new(false)));
                let garbles = shared.clone();
                std::thread::spawn(move || carry(upstream, client, &garbles));
            }
        });
        Self { port, garbles }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, garbles: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = match &buffer[..read] {
            b"*0\r\n" if garbles.load(Ordering::SeqCst) => b"*1\r\n$1\r\nx\r\n",
            bytes => bytes,
        };
        if to.write_all(bytes).is_err() {
            return;
        }
    }
}

/// A consumer that takes one message at a time, and whose heartbeats do not come in between.
async fn one_at_a_time(url: &str) -> (apium_redis::RedisBroker, Box<dyn Consumer>) {
    let broker = with_short_timeout(url);
    let mut spec = spec(&["q"]);
    (spec.prefetch, spec.lease) = (1, Duration::from_secs(60));
    let consumer = soon("a consumer", broker.consume(spec)).await.unwrap();
    send(&broker, "q", &["a", "b"]).await;
    (broker, consumer)
}

/// The prefetch is used up, so nothing comes.
async fn assert_full(consumer: &mut Box<dyn Consumer>) {
    let next = tokio::time::timeout(Duration::from_millis(300), consumer.next(1)).await;
    assert!(next.is_err(), "it got {next:?} although a message is in flight");
}

#[tokio::test]
async fn a_reply_that_makes_no_sense() {
    let server = RedisServer::start();
    let garbler = Garbler::to(server.port());
    let (_broker, mut consumer) = one_at_a_time(&format!("redis://127.0.0.1:{}/0", garbler.port)).await;
    let batch = take(&mut consumer, 1).await;
    garbler.garbles.store(true, Ordering::SeqCst);
    let error = soon("an error", consumer.acker().ack(receipts(&batch))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    garbler.garbles.store(false, Ordering::SeqCst);
    assert_full(&mut consumer).await;
    // The server has done it, which is no lost lease.
    soon("an ack", consumer.acker().ack(receipts(&batch))).await.unwrap();
    finish(&mut consumer, &["b"]).await;
    assert_eq!(keys(&mut connection(&server), "unacked*"), Vec::<String>::new());
}

#[tokio::test]
async fn a_settlement_that_its_caller_gives_up() {
    let server = RedisServer::start();
    let (_broker, mut consumer) = one_at_a_time(&server.url(0)).await;
    let batch = take(&mut consumer, 1).await;
    assert_eq!(names(&batch), ["a"]);
    server.pause();
    let acker = consumer.acker();
    assert!(acker.ack(receipts(&batch)).now_or_never().is_none(), "the server does not run");
    server.resume();
    assert_full(&mut consumer).await;
    ack(&*consumer, &batch).await;
    finish(&mut consumer, &["b"]).await;
    assert_eq!(keys(&mut connection(&server), "unacked*"), Vec::<String>::new());
}
