//! Several processes on one file. The test binary runs itself as the other process, whose entry point is `child`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_sqlite::SqliteDriver;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::settlement::{Acknowledgement, Receipt, Settlement};
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use apium_transport::driver::DriverOptions;
use futures_util::StreamExt;
use rusqlite::Connection;

use crate::kit::{address, id_of, open, receipts, soon, spec, to};

const ROLE: &str = "APIUM_SQLITE_TEST_ROLE";
const FILE: &str = "APIUM_SQLITE_TEST_FILE";

/// Another process with a role on a file. It is killed when it goes out of scope.
struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--nocapture", "--quiet"])
            .env(ROLE, role)
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Waits for a line that begins with `word`, and returns the text behind it.
    fn says(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the other process ended before it said {word}");
            if let Some(text) = line.trim_end().strip_prefix(word) {
                return text.trim().to_owned();
            }
        }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// The entry point of the other process, which the tests start with a role. Without a role there is nothing to do.
#[test]
fn child() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let handles = open(Path::new(&file), &Clock::system()).await;
        match role.as_str() {
            "publish" => publish_on_demand(handles).await,
            "claim" => claim(handles, false).await,
            "start" => claim(handles, true).await,
            "settle" => settle(handles).await,
            "produce" => produce(handles).await,
            other => panic!("no role {other}"),
        }
    });
}

/// Publishes a message for each line, and stores a result for it.
async fn publish_on_demand(handles: Handles) {
    say("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap() {
            ("publish", id) => handles.broker.publish(vec![to("q", id)]).await.unwrap(),
            ("succeed", id) => drop(handles.backend.store(vec![success(id)]).await.unwrap()),
            other => panic!("no order {other:?}"),
        }
        say("done");
    }
}

/// Claims what there is and keeps it in flight.
async fn claim(handles: Handles, start: bool) {
    let mut consumer = handles.broker.consume(spec("q", "w@h", 0)).await.unwrap();
    let got = consumer.next(100).await.unwrap();
    if start {
        consumer.acker().mark_started(&receipts(&got)[..1]).await.unwrap();
    }
    say(&format!("claimed {}", got.len()));
    std::future::pending().await
}

fn success(id: &str) -> ResultRecord {
    ResultRecord::new(ResultDocument::new(id, State::Success, Json::NULL))
}

/// Settles messages for ever: stores a result with each ack.
async fn settle(handles: Handles) {
    let mut consumer = handles.broker.consume(spec("q", "w@h", 64)).await.unwrap();
    let acker = consumer.acker();
    say("ready");
    loop {
        let got = consumer.next(16).await.unwrap();
        let settlement = |(receipt, id): (Receipt, String)| {
            let mut settlement = Settlement::default();
            settlement.record = Some(Box::new(success(&id)));
            settlement.delivery = Some((receipt, Acknowledgement::Ack));
            settlement
        };
        let all = got.iter().map(|delivery| (delivery.receipt.clone(), id_of(delivery))).map(settlement).collect();
        acker.mark_started(&receipts(&got)).await.unwrap();
        acker.atomic().unwrap().settle(all).await.unwrap();
        say(&format!("settled {}", got.len()));
    }
}

/// Publishes for ever, and says each time what was published.
async fn produce(handles: Handles) {
    for n in 0_u64.. {
        let ids: Vec<String> = (0..1 + n % 7).map(|m| format!("{}-{n}-{m}", std::process::id())).collect();
        handles.broker.publish(ids.iter().map(|id| to("q", id)).collect()).await.unwrap();
        say(&format!("published {}", ids.join(" ")));
    }
}

async fn all_received(handles: &Handles, count: usize) -> BTreeSet<String> {
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let mut ids = BTreeSet::new();
    while ids.len() < count {
        let got = soon("messages of the dead", consumer.next(100)).await.unwrap();
        ids.extend(got.iter().map(id_of));
        assert!(got.iter().all(|delivery| delivery.redelivered), "not marked as redelivered");
        consumer.acker().ack(receipts(&got)).await.unwrap();
    }
    consumer.close().await.unwrap();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_consumer_is_woken_by_the_doorbell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let options = DriverOptions::new(Clock::system());
    let broker = SqliteDriver::new().open_broker(address(&path), &options).unwrap();
    let mut consumer = broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let mut other = Other::start("publish", &path);
    other.says("ready");
    // A poll may come before the doorbell, or the message before the consumer waits: on a busy machine often, but not
    // each time.
    let (mut rang, mut n) = (0, 0);
    while rang < 5 {
        n += 1;
        assert!(n <= 200, "the doorbell rang for {rang} of 200 messages");
        let before = broker.wake_causes();
        other.order(&format!("publish m{n}"));
        let got = soon("the message of another process", consumer.next(10)).await.unwrap();
        rang += u64::from(broker.wake_causes().doorbell > before.doorbell);
        consumer.acker().ack(receipts(&got)).await.unwrap();
        other.says("done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_learns_of_the_results_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let mut other = Other::start("publish", &path);
    other.says("ready");
    // One id, and more ids than are looked up one by one.
    for count in [1_usize, 100] {
        let ids: Vec<_> = (0..count).map(|n| format!("{count}-{n}")).collect();
        let mut stream = handles.backend.watch(ids.iter().map(|id| id.as_str().into()).collect()).await.unwrap();
        for id in &ids {
            other.order(&format!("succeed {id}"));
            other.says("done");
        }
        let mut seen = BTreeSet::new();
        while let Some(document) = soon("the result of another process", stream.next()).await {
            seen.insert(document.unwrap().task_id.to_string());
        }
        assert_eq!(seen, ids.into_iter().collect());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_had_in_flight_comes_back_long_before_its_lease_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    // The clock stands still: no lease ever ends.
    let handles = open(&path, &Clock::manual(Clock::system().now())).await;
    handles.broker.publish((0..50).map(|n| to("q", &format!("m{n}"))).collect()).await.unwrap();
    let mut other = Other::start("claim", &path);
    assert_eq!(other.says("claimed"), "50");
    assert_eq!(handles.broker.queues().unwrap().consumers().unwrap().consumers_named("w@h").await.unwrap(), 1);
    other.kill();
    assert_eq!(
        handles.broker.queues().unwrap().consumers().unwrap().consumers_named("w@h").await.unwrap(),
        0,
        "its name is not free"
    );
    assert_eq!(all_received(&handles, 50).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_counts_a_crash_for_what_it_had_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    handles.broker.publish(vec![to("q", "killer"), to("q", "bystander")]).await.unwrap();
    for _ in 0..2 {
        let mut other = Other::start("start", &path);
        assert_eq!(other.says("claimed"), "2");
        other.kill();
    }
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let mut crashes = Vec::new();
    while crashes.len() < 2 {
        let got = soon("messages of the dead", consumer.next(100)).await.unwrap();
        crashes.extend(got.iter().map(|delivery| (id_of(delivery), delivery.crashes)));
    }
    assert_eq!(crashes, [("killer".to_owned(), 2), ("bystander".to_owned(), 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_workers_and_producers_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let mut published: BTreeSet<String> = BTreeSet::new();
    for round in 0..12_usize {
        let mut producer = Other::start("produce", &path);
        let mut worker = Other::start("settle", &path);
        worker.says("ready");
        // The processes are killed at different moments: after so many lines of the one or the other.
        for _ in 0..3 + round * 7 % 11 {
            published.extend(producer.says("published").split(' ').map(str::to_owned));
        }
        for _ in 0..round % 4 {
            worker.says("settled");
        }
        let (first, second) = if round % 2 == 0 { (&mut worker, &mut producer) } else { (&mut producer, &mut worker) };
        first.kill();
        second.kill();
        // What it published before it was killed counts as well.
        for line in BufRead::lines(&mut producer.output) {
            if let Some(ids) = line.unwrap().strip_prefix("published ") {
                published.extend(ids.split(' ').map(str::to_owned));
            }
        }
    }
    let mut last = Other::start("settle", &path);
    let ids: Vec<_> = published.iter().map(|id| id.as_str().into()).collect();
    let mut stream = handles.backend.watch(ids).await.unwrap();
    let mut settled = BTreeSet::new();
    while let Some(document) = soon("all results", stream.next()).await {
        settled.insert(document.unwrap().task_id.to_string());
    }
    assert_eq!(settled, published);
    last.kill();
    let conn = Connection::open(&path).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let placed = "SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM claimed) + (SELECT count(*) FROM parked)";
    assert_eq!(
        count("SELECT count(*) FROM message"),
        count(placed),
        "messages without a position, or positions without a message"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_store_leaves_no_files_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let live = folder.path().join("q.db-live");
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 2, "one lock file, one doorbell");
    consumer.close().await.unwrap();
    drop(handles);
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 0);
    assert!(!folder.path().join("q.db-wal").exists(), "the log was not written back");
}
