//! The page of metrics: it is read as Prometheus reads it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::observing::tasks::{app, worker};
use crate::rig::{Gate, send, until};

/// The head of an answer, and its text.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), text.to_owned())
}

/// The samples of a page, by name and labels. Panics where Prometheus would refuse the page.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut types, mut found, mut closed) = (HashMap::new(), BTreeMap::new(), HashSet::new());
    let mut family = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(closed.insert(family), "the family {family} is in two places");
            family = help.split(' ').next().unwrap();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            types.insert(name, kind);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let of_family = match types[family] {
                "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{family}{end}")).contains(&bare.into()),
                _ => bare == family,
            };
            assert!(of_family, "{line} is no sample of {family}");
            assert!(found.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line} is there twice");
        }
    }
    found
}

#[tokio::test]
async fn a_worker_shows_what_it_does_under_the_names_of_celery_exporter() {
    let app = app().await;
    let worker = worker(&app).health_listen(([127, 0, 0, 1], 0).into()).start().await.unwrap();
    let address = worker.health_address().unwrap();
    for (n, task) in ["quick", "quick", "fails", "retries", "rejects", "gone", "made-up"].into_iter().enumerate() {
        send(&app, task, &format!("{task}-{n}")).await;
    }
    send(&app, "waits", "waits-1").await;
    app.states().get::<Gate>().unwrap().begun(1).await;
    let page = async || samples(&get(address, "/metrics").await.1);
    let of = |task: &str| format!("name=\"{task}\",hostname=\"host\",queue_name=\"celery\"");
    let retried = format!("celery_task_succeeded_total{{{}}}", of("retries"));
    app.states().get::<Gate>().unwrap().open(1);
    until("the retry is done", async || page().await.get(&retried) == Some(&1.0)).await;
    send(&app, "waits", "waits-2").await;
    app.states().get::<Gate>().unwrap().begun(1).await;
    let seen = page().await;
    for (name, value) in [
        (format!("celery_task_sent_total{{{}}}", of("quick")), 2.0),
        (format!("celery_task_sent_total{{{}}}", of("retries")), 2.0),
        (format!("celery_task_received_total{{{}}}", of("quick")), 2.0),
        (format!("celery_task_started_total{{{}}}", of("quick")), 2.0),
        (format!("celery_task_succeeded_total{{{}}}", of("quick")), 2.0),
        (format!("celery_task_failed_total{{{},exception=\"TaskError\"}}", of("fails")), 1.0),
        (format!("celery_task_failed_total{{{},exception=\"\"}}", of("quick")), 0.0),
        (format!("celery_task_failed_total{{{},exception=\"NotRegistered\"}}", of("unregistered")), 2.0),
        (format!("celery_task_retried_total{{{}}}", of("retries")), 1.0),
        (format!("celery_task_rejected_total{{{}}}", of("rejects")), 1.0),
        (format!("celery_task_revoked_total{{{}}}", of("quick")), 0.0),
        (format!("celery_task_runtime_count{{{}}}", of("quick")), 2.0),
        (format!("celery_task_runtime_bucket{{{},le=\"+Inf\"}}", of("quick")), 2.0),
        ("celery_worker_up{hostname=\"host\"}".into(), 1.0),
        ("celery_worker_tasks_active{hostname=\"host\"}".into(), 1.0),
        ("celery_queue_length{queue_name=\"celery\"}".into(), 0.0),
        ("celery_active_consumer_count{queue_name=\"celery\"}".into(), 1.0),
        ("apium_worker_slots{node=\"w1@host\"}".into(), 1.0),
        ("apium_worker_healthy{node=\"w1@host\"}".into(), 1.0),
        ("apium_refused_total{node=\"w1@host\"}".into(), 2.0),
        ("apium_dead_letters".into(), 3.0),
    ] {
        assert_eq!(seen.get(&name), Some(&value), "{name} in {seen:#?}");
    }
    assert!(seen["apium_settle_seconds_count{node=\"w1@host\"}"] > 0.0);
    assert!(seen.keys().all(|name| !name.contains("made-up")), "a name that nobody registered is no label");

    let (head, text) = get(address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(text.ends_with('\n'));
    assert!(get(address, "/nothing").await.1.contains("/metrics"));
    app.states().get::<Gate>().unwrap().open(1);
    worker.stop().await;
}
