//! A worker all of whose queues are paused lives on, says so, claims nothing, and goes on at once when one is resumed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use apium::prelude::*;
use apium::worker::StopKind;

use crate::live::{counts, entered, live, none_entered, open_gate, stop, value, wait_for_counts, wait_until};
use crate::scenarios::ends::shutdown::gated;

/// What `GET /ready` answers.
fn ready(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    text.to_owned()
}

/// The worker answers this many questions, one after the other. Meanwhile it could have claimed something.
async fn it_lives(app: &App, questions: usize) {
    for _ in 0..questions {
        let replies = app.control().limit(1).timeout(Duration::from_secs(20)).ping().replies().await.unwrap();
        assert_eq!(replies.answers().collect::<Vec<_>>(), [("w@host", &"pong".to_owned())]);
    }
}

on_every_driver! {
    async fn a_worker_all_of_whose_queues_are_paused_waits_for_one(fixture: &Fixture) {
        let app = live(fixture).register::<gated>().build().await.unwrap();
        app.control().pause_queue("celery", "the disk is full").send().await.unwrap();
        let worker = app.worker().hostname("w@host").concurrency(2).health_listen("127.0.0.1:0".parse().unwrap());
        let worker = worker.start().await.unwrap();
        let address = worker.health_address().unwrap();
        for round in 0..2 {
            let text = tokio::task::spawn_blocking(move || ready(address)).await.unwrap();
            assert!(text.starts_with("ready; paused queues: celery (since "), "{text}");
            assert!(text.contains("the disk is full"), "{text}");
            let result = gated::delay(round).send(&app).await.unwrap();
            it_lives(&app, 10).await;
            let stats = counts(&app).await;
            assert_eq!((stats.ready, stats.unacked, stats.consumers), (1, 0, 0), "in round {round}");
            assert!(worker.health().is_green() && none_entered(&app));
            app.control().resume_queue("celery").send().await.unwrap();
            entered(&app, 1).await;
            open_gate(&app, 1);
            assert_eq!(value(&result).await, round);
            wait_for_counts(&app, 0, 0).await;
            app.control().pause_queue("celery", "the disk is full").send().await.unwrap();
            wait_until("nobody consumes it", async || counts(&app).await.consumers == 0).await;
        }
        assert_eq!(stop(worker, StopKind::Warm).await.exit_code(), 0);
    }
}
