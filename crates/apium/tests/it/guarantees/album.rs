//! Several guarantees at once, with the example `album`: `nothing-lost`, `chord-once`, `outage-no-failure`,
//! `reconnect`, `takeover` and `waiters`. Redis is killed five times in the middle of two albums, and a worker while
//! Redis is away. Every album is published, every caller gets it, and no task runs twice but what the killed worker had
//! in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium_peers::redis::{Client, cmd};
use apium_peers::redis_server::RedisServer;
use apium_peers::target::example;

use crate::live::{counts, wait_for_counts, wait_until};
use crate::program::{Running, Sandbox, Stream};

/// The albums, which are ordered at the same time.
const ALBUMS: [&str; 2] = ["Summer", "Winter"];
/// How many photos each has.
const PHOTOS: usize = 20;
/// How many tasks a worker runs at a time.
const SLOTS: usize = 8;
/// How many tasks each worker may run to their end before an outage begins, and while it lasts.
const BEFORE: usize = 4;
const DURING: usize = 3;
/// How long each outage lasts, in seconds.
const OUTAGES: [u64; 5] = [1, 2, 3, 4, 1];
/// In this one a worker is killed.
const FATAL: usize = 3;

/// What the journal says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    ends: bool,
    task: String,
    id: String,
    pid: u32,
}

/// A worker with the file of its gate, and how many tasks the gate has let pass.
struct Worker {
    running: Running,
    gate: PathBuf,
    passed: usize,
}

/// The service: its server, its folder and its living workers.
struct Service {
    server: RedisServer,
    sandbox: Sandbox,
    workers: Vec<Worker>,
}

impl Service {
    fn new() -> Self {
        // Otherwise a killed server may forget what a worker or caller was told that it has done.
        let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
        Self { server, sandbox: Sandbox::new(), workers: Vec::new() }
    }

    fn program(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command(&example("album"), args);
        let url = self.server.url(0);
        command.env("APIUM_BROKER_URL", &url).env("APIUM_RESULT_BACKEND", &url);
        // Shorter than the longest outage.
        command.env("APIUM_WORKER_LEASE", "3").env("APIUM_APP__FOLDER", "albums");
        command.env("APIUM_APP__JOURNAL", self.journal_file());
        command
    }

    fn journal_file(&self) -> PathBuf {
        self.sandbox.path().join("journal")
    }

    fn start_worker(&mut self, name: &str) {
        let gate = self.sandbox.path().join(name);
        File::create(&gate).unwrap();
        // With a larger window one worker would hold messages for which the other has free slots.
        let mut command = self.program(&["worker", "-n", name, "--prefetch-multiplier", "2"]);
        command.args(["-c", &SLOTS.to_string()]);
        command.env("APIUM_APP__GATE", &gate);
        let mut running = Running::start(command, Stream::Err);
        running.wait_for("ready");
        self.workers.push(Worker { running, gate, passed: 0 });
    }

    fn order(&self, album: &str) -> Running {
        let args = ["submit", album, "--photos", &PHOTOS.to_string(), "--json"];
        Running::start(self.program(&args), Stream::Out)
    }

    /// An app that looks at the queue.
    async fn watcher(&self) -> App {
        App::builder("watcher").autodiscover(false).broker(self.server.url(0)).build().await.unwrap()
    }

    /// Lets each worker run so many more tasks to their end.
    fn open_gates(&mut self, count: usize) {
        for worker in &mut self.workers {
            File::options().append(true).open(&worker.gate).unwrap().write_all(&vec![b'.'; count]).unwrap();
            worker.passed += count;
        }
    }

    fn journal(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.journal_file()).unwrap_or_default();
        let entry = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [what, task, id, pid] = words[..] else { panic!("{line:?} in the journal") };
            Entry { ends: what == "end", task: task.to_owned(), id: id.to_owned(), pid: pid.parse().unwrap() }
        };
        text.lines().map(entry).collect()
    }

    /// How many tasks have ended.
    fn ended(&self) -> usize {
        self.journal().iter().filter(|entry| entry.ends).count()
    }

    fn ended_in(&self, worker: &Worker) -> usize {
        self.journal().iter().filter(|entry| entry.ends && entry.pid == worker.running.pid()).count()
    }

    /// Those of these tasks that have a stored SUCCESS. With it their messages are settled, in one step.
    fn settled(&self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let mut redis = Client::open(self.server.url(0)).unwrap().get_connection().unwrap();
        let has_succeeded = |id: &&String| {
            let stored: Option<String> = cmd("GET").arg(format!("celery-task-meta-{id}")).query(&mut redis).unwrap();
            stored.is_some_and(|text| text.contains(r#""status": "SUCCESS""#))
        };
        ids.iter().filter(has_succeeded).cloned().collect()
    }

    /// Waits until every slot has a task that waits at its gate, and all that has ended is settled.
    async fn wait_until_busy(&self) {
        wait_until("every slot has a task, and what has ended is settled", async || {
            let journal = self.journal();
            let ended = ids(&journal, |entry| entry.ends);
            let begun = journal.iter().filter(|entry| !entry.ends).count();
            begun == ended.len() + self.workers.len() * SLOTS && self.settled(&ended) == ended
        })
        .await;
    }

    /// Kills the server while tasks end.
    async fn take_server_away(&mut self) -> Instant {
        let journal = self.journal();
        assert!(journal.iter().all(|entry| entry.task != "album.publish"), "an album is published already");
        let ended = self.ended();
        self.open_gates(BEFORE);
        wait_until("some of the tasks that may end have ended", async || self.ended() >= ended + BEFORE - 1).await;
        self.server.kill();
        let killed = Instant::now();
        self.open_gates(DURING);
        killed
    }

    async fn bring_server_back(&self, killed: Instant, away: Duration) {
        wait_until("the server was away", async || killed.elapsed() >= away).await;
        self.server.restart();
    }

    /// Kills a worker that has tasks whose end it could not settle, and tasks that wait at its gate. Returns its pid.
    async fn kill_worker(&mut self) -> u32 {
        let worker = self.workers.pop().unwrap();
        let all = async || self.ended_in(&worker) == worker.passed;
        wait_until("its tasks end although the server is away", all).await;
        let pid = worker.running.pid();
        worker.running.kill();
        pid
    }
}

/// The tasks of the entries that are chosen.
fn ids(journal: &[Entry], chosen: impl Fn(&Entry) -> bool) -> BTreeSet<String> {
    journal.iter().filter(|entry| chosen(entry)).map(|entry| entry.id.clone()).collect()
}

/// How often each task has begun and ended.
fn runs(journal: &[Entry]) -> BTreeMap<String, (usize, usize)> {
    let mut runs: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for entry in journal {
        let (begun, ended) = runs.entry(entry.id.clone()).or_default();
        *if entry.ends { ended } else { begun } += 1;
    }
    runs
}

fn assert_published(service: &Service, album: &str, caller: Running) {
    let (code, lines) = caller.end();
    assert_eq!(code, 0, "{album}: {lines:?}");
    let value: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let photos: Vec<usize> = (1..=PHOTOS).collect();
    assert_eq!((&value["title"], &value["photos"]), (&json!(album), &json!(photos)));
    let page = fs::read_to_string(value["page"].as_str().unwrap()).unwrap();
    let folder = service.sandbox.path().join("albums").join(album);
    for number in photos {
        let name = format!("thumbnail-{number}.bmp");
        assert!(page.contains(&format!(r#"src="{name}""#)), "{page}");
        assert!(fs::read(folder.join(name)).unwrap().starts_with(b"BM"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn albums_outlive_five_restarts_of_their_server_and_the_kill_of_a_worker() {
    let mut service = Service::new();
    service.start_worker("first");
    service.start_worker("second");
    let callers = ALBUMS.map(|album| service.order(album));
    let watcher = service.watcher().await;
    wait_until("all albums are ordered", async || {
        let counts = counts(&watcher).await;
        counts.ready + counts.unacked == (ALBUMS.len() * PHOTOS) as u64
    })
    .await;

    // The tasks that the killed worker had in flight, each with whether it had ended there.
    let mut in_flight: BTreeMap<String, bool> = BTreeMap::new();
    for (number, seconds) in OUTAGES.into_iter().enumerate() {
        match service.workers.len() {
            2 => service.wait_until_busy().await,
            // Its tasks run one by one now, since one of them may have been what killed it.
            _ => drop(service.workers[0].running.wait_for("reclaimed the messages of a dead worker")),
        }
        let killed = service.take_server_away().await;
        let killed_worker = if number == FATAL { Some(service.kill_worker().await) } else { None };
        service.bring_server_back(killed, Duration::from_secs(seconds)).await;
        if let Some(pid) = killed_worker {
            // Nobody takes it for dead yet, so what is settled now it has settled itself.
            let journal = service.journal();
            let ended = ids(&journal, |entry| entry.pid == pid && entry.ends);
            let settled = service.settled(&ended);
            let begun = ids(&journal, |entry| entry.pid == pid);
            in_flight = begun.difference(&settled).map(|id| (id.clone(), ended.contains(id))).collect();
        }
    }
    service.open_gates(1000);
    for (album, caller) in ALBUMS.into_iter().zip(callers) {
        assert_published(&service, album, caller);
    }

    let watcher = service.watcher().await;
    wait_for_counts(&watcher, 0, 0).await;
    assert!(watcher.broker().dead().unwrap().list(0, 10).await.unwrap().is_empty());
    // The kill has repeated what it interrupted, and nothing else was repeated.
    let runs = runs(&service.journal());
    assert_eq!(runs.len(), ALBUMS.len() * (2 * PHOTOS + 1));
    let ended_twice = in_flight.values().filter(|ended| **ended).count();
    assert!(ended_twice >= DURING && in_flight.len() > ended_twice, "{in_flight:?}");
    for (id, counts) in runs {
        let expected = in_flight.get(&id).map_or((1, 1), |ended| (2, if *ended { 2 } else { 1 }));
        assert_eq!(counts, expected, "how often {id} began and ended");
    }
    let (code, log) = service.workers.pop().unwrap().running.stop("TERM");
    assert_eq!(code, 0, "{log:#?}");
}
