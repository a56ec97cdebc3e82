//! `isolation`: what a task does to its process harms no other task, and no run is lost with a child process.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use apium::prelude::*;
use apium::worker::{AppWorker, PoolKind};
use apium_peers::guarded::runs;
use apium_peers::target::example;
use serde_json::{Value, json};

use crate::program::{DEADLINE, Running, Sandbox, Stream, signal};

/// A worker of the example, and an app that calls its tasks.
struct Site {
    sandbox: Sandbox,
    app: App,
}

impl Site {
    async fn new() -> Self {
        let sandbox = Sandbox::new();
        let app = App::builder("caller").broker(sandbox.url()).backend(sandbox.url()).build().await.unwrap();
        Self { sandbox, app }
    }

    /// A worker with so many slots.
    fn worker(&self, slots: usize, args: &[&str]) -> Running {
        let slots = slots.to_string();
        let all: Vec<&str> = ["worker", "-c", &slots].iter().chain(args).copied().collect();
        let mut running = Running::start(self.sandbox.command(&example("processes"), &all), Stream::Err);
        running.wait_for("ready");
        running
    }

    /// Calls a task with one argument, or without any.
    fn call(&self, task: &str, arg: Option<Value>) -> Call<Json> {
        let args = arg.iter().map(|arg| Json::from_serialize(arg).unwrap());
        self.app.sig(task).raw_args(args).call()
    }

    async fn send(&self, task: &str, arg: Option<Value>) -> AsyncResult<Json> {
        self.call(task, arg).send(&self.app).await.unwrap()
    }

    async fn pid(&self) -> u32 {
        value(self.send("pid", None).await).await.decode().unwrap()
    }
}

async fn value(result: AsyncResult<Json>) -> Json {
    result.get().timeout(DEADLINE).await.unwrap()
}

async fn failure(result: AsyncResult<Json>) -> Failure {
    let outcome = result.get().timeout(DEADLINE).outcome().await.unwrap();
    outcome.failure().unwrap_or_else(|| panic!("it did not fail: {outcome:?}")).clone()
}

/// Waits until a run of `slow_pid` has begun. A stop gives back what has not.
async fn until_begun(result: &AsyncResult<Json>) {
    let deadline = Instant::now() + DEADLINE;
    while result.state().await.unwrap() != TaskState::Started {
        assert!(Instant::now() < deadline, "it does not begin");
    }
}

#[track_caller]
fn assert_lost(failure: &Failure, how: &str) {
    let exception = failure.exception();
    assert_eq!(exception.exc_type, "WorkerLostError", "{failure:?}");
    let text = exception.message();
    assert!(text.starts_with(&format!("Worker exited prematurely: {how} Job: ")) && text.ends_with('.'), "{text}");
}

/// The children of a process.
fn children_of(pid: u32) -> BTreeSet<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).ok());
    children.flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// The sockets that a process has.
fn sockets_of(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok()?.to_str().map(str::to_owned));
    names.filter(|name| name.starts_with("socket:")).collect()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_crash_fails_its_run_and_no_other_one() {
    let site = Site::new().await;
    let mut worker = site.worker(2, &["-P", "processes"]);
    let other = site.send("slow_pid", Some(json!(2.0))).await;
    worker.wait_for("slow_pid");
    assert_lost(&failure(site.send("crash", None).await).await, "signal 6 (SIGABRT)");
    let pid: u32 = value(other).await.decode().unwrap();
    assert!(children_of(worker.pid()).contains(&pid) && pid != worker.pid());
}

#[tokio::test]
async fn isolated_tasks_run_in_children_and_others_in_the_worker() {
    let site = Site::new().await;
    let worker = site.worker(2, &[]);
    assert_eq!(site.pid().await, worker.pid());
    let pid: u32 = value(site.send("leak", Some(json!(1))).await).await.decode().unwrap();
    assert!(children_of(worker.pid()).contains(&pid));
    assert_lost(&failure(site.send("crash", None).await).await, "signal 6 (SIGABRT)");
}

#[tokio::test]
async fn a_task_that_kills_children_goes_to_the_dead_set() {
    let site = Site::new().await;
    let worker = site.worker(2, &[]);
    let killer = site.send("crash_again", None).await;
    let failure = failure(killer).await;
    assert_eq!(failure.exception().exc_type, "WorkerLostError");
    let dead = site.app.broker().dead().unwrap().list(0, 10).await.unwrap();
    assert_eq!(dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["crash-loop"]);
    assert_eq!(site.pid().await, worker.pid(), "the worker goes on");
    let (_, lines) = worker.stop("TERM");
    let deaths = lines.iter().filter(|line| line.contains("the child process of task crash_again")).count();
    assert_eq!(deaths, 3, "{lines:#?}");
}

#[tokio::test]
async fn a_lost_run_is_retried_where_its_task_wants_that() {
    let site = Site::new().await;
    let _worker = site.worker(2, &[]);
    assert_eq!(value(site.send("crash_once", None).await).await.as_str(), "1");
}

#[tokio::test]
async fn a_body_that_never_ends_is_killed_at_its_hard_limit() {
    let site = Site::new().await;
    let worker = site.worker(2, &[]);
    let call = site.call("spin", None).time_limit(Duration::from_secs(1));
    let failure = failure(call.send(&site.app).await.unwrap()).await;
    assert_eq!(failure.exception().exc_type, "TimeLimitExceeded");
    wait_until("the child is gone", || children_of(worker.pid()).is_empty()).await;
}

#[tokio::test]
async fn a_soft_limit_reaches_the_body_in_its_child() {
    let site = Site::new().await;
    let _worker = site.worker(2, &["-P", "processes"]);
    let call = site.call("slow_pid", Some(json!(60.0))).soft_time_limit(Duration::from_secs(1));
    assert_eq!(value(call.send(&site.app).await.unwrap()).await.as_str(), "0");
}

#[tokio::test]
async fn a_terminated_run_ends_with_its_child() {
    let site = Site::new().await;
    let mut worker = site.worker(2, &[]);
    let spins = site.send("spin", None).await;
    worker.wait_for("task spin");
    wait_until("it runs", || !children_of(worker.pid()).is_empty()).await;
    site.app.control().revoke(spins.id().as_str()).terminate().send().await.unwrap();
    assert_eq!(failure(spins).await.exception().exc_type, "TaskRevokedError");
    wait_until("the child is gone", || children_of(worker.pid()).is_empty()).await;
}

#[tokio::test]
async fn a_child_is_replaced_after_its_tasks_or_when_it_is_too_large() {
    let site = Site::new().await;
    let worker = site.worker(1, &["-P", "processes", "--max-tasks-per-child", "2"]);
    let mut pids = Vec::new();
    for _ in 0..4 {
        pids.push(site.pid().await);
    }
    assert!(pids[0] == pids[1] && pids[1] != pids[2] && pids[2] == pids[3], "{pids:?}");
    worker.stop("TERM");
    let _worker = site.worker(1, &["-P", "processes", "--max-memory-per-child", "100000"]);
    let first = site.pid().await;
    let leaked: u32 = value(site.send("leak", Some(json!(1))).await).await.decode().unwrap();
    assert_eq!((first, leaked), (site.pid().await, first), "it is small enough");
    value(site.send("leak", Some(json!(120))).await).await;
    assert_ne!(site.pid().await, first);
}

#[tokio::test]
async fn what_a_run_does_beside_its_end_is_known_outside_of_its_child() {
    let site = Site::new().await;
    let _worker = site.worker(2, &["-P", "processes"]);
    let result = site.send("parent", None).await;
    let (sender, seen) = std::sync::mpsc::sync_channel(10);
    let noted = move |document: &ResultDocument| sender.send(document.state.to_string()).unwrap();
    result.get().timeout(DEADLINE).on_message(noted).await.unwrap();
    let states: Vec<String> = seen.try_iter().collect();
    assert_eq!(result.children().await.unwrap().unwrap().len(), 2);
    assert!(states.contains(&"HALF".to_owned()), "{states:?}");
}

#[tokio::test]
async fn several_async_runs_share_a_child_where_that_is_wanted() {
    let site = Site::new().await;
    let _worker = site.worker(4, &["-P", "processes", "--set", "worker_child_concurrency=4"]);
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(site.send("slow_pid", Some(json!(1.0))).await);
    }
    let mut pids = BTreeSet::new();
    for result in sent {
        pids.insert(value(result).await.decode::<u32>().unwrap());
    }
    assert_eq!(pids.len(), 1, "{pids:?}");
    // Their child dies in the middle. They are acked late, and each runs again in a child of its own.
    let child = *pids.first().unwrap();
    let first = site.send("slow_pid", Some(json!(3.0))).await;
    let second = site.send("slow_pid", Some(json!(3.0))).await;
    for sent in [&first, &second] {
        until_begun(sent).await;
    }
    signal(child, "KILL");
    for result in [first, second] {
        assert_ne!(value(result).await.decode::<u32>().unwrap(), child);
    }
}

#[tokio::test]
async fn a_child_that_is_stuck_is_replaced_and_its_run_begins_elsewhere() {
    let site = Site::new().await;
    let worker = site.worker(1, &["-P", "processes"]);
    let stuck = site.pid().await;
    signal(stuck, "STOP");
    let began = Instant::now();
    assert_ne!(site.pid().await, stuck);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    wait_until("the stuck one is gone", || !children_of(worker.pid()).contains(&stuck)).await;
}

#[tokio::test]
async fn children_have_no_socket_of_their_worker_and_end_with_it() {
    let site = Site::new().await;
    let worker = site.worker(2, &["-P", "processes"]);
    let running = site.send("slow_pid", Some(json!(60.0))).await;
    let child = site.pid().await;
    let children = children_of(worker.pid());
    assert!(children.contains(&child));
    let of_worker = sockets_of(worker.pid());
    assert!(!of_worker.is_empty());
    // One that is just being started has the files of its worker until it runs its own program.
    wait_until("no child has a socket of its worker", || {
        children.iter().all(|child| sockets_of(*child).is_disjoint(&of_worker))
    })
    .await;
    // Those of a service that is stopped as a group get the signal, too.
    signal(child, "TERM");
    assert_eq!(site.pid().await, child);
    drop(running);
    worker.kill();
    wait_until("no child is left", || !children.iter().any(|child| runs(*child))).await;
}

#[tokio::test]
async fn a_stop_waits_for_what_runs_in_children() {
    let site = Site::new().await;
    let worker = site.worker(1, &["-P", "processes"]);
    let runs = site.send("slow_pid", Some(json!(1.0))).await;
    until_begun(&runs).await;
    let (code, lines) = worker.stop("TERM");
    assert_eq!(code, 0, "{lines:#?}");
    value(runs).await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_children_does_not_start() {
    let app = App::builder("embedded").broker("memory://").autodiscover(false).build().await.unwrap();
    let error = app.worker().pool(PoolKind::Processes).start().await.unwrap_err().to_string();
    assert!(error.contains("the pool of processes") && error.contains("ChildProgram::of(app)"), "{error}");
}
