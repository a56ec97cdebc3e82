//! Which options of a workflow reach which of its tasks: the same ones as with Celery, wherever they are set.
//!
//! `tests/interop/canvas_options.py` lists the cases, and says what an outcome is. `options.jsonl` has the outcome of
//! each with Celery alone. The one difference: with Celery, a group or a chord that a worker sends loses its priority
//! (the worker passes on its own, which is none).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use apium::canvas::{CallSpec, Node, TaskNode, send};
use apium::prelude::*;
use apium_peers::redis_server::fresh_database;
use serde::Deserialize;
use serde_json::json;

use crate::canvas::selection::{FULL, WRITE, is_set};
use crate::canvas::shape::Shape;
use crate::canvas::workers::{LIMIT, Workers, celery_of, client_of, output};

/// The outcomes with Celery.
const CELERY: &str = include_str!("options.jsonl");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/canvas/options.jsonl");

/// The program of Celery.
const PROGRAM: &str = "canvas_options.py";

/// The queues that options name, and that of tasks without options.
const QUEUES: [&str; 6] = ["celery", "option1", "option2", "option3", "option4", "option5"];

/// How many of the cases go through workers of both sides, without [`FULL`]: one of so many.
const ONE_OF: usize = 4;

/// A case, with its outcome with Celery.
#[derive(Debug, Deserialize)]
struct Case {
    shape: String,
    marks: String,
    call: u8,
    came: String,
}

fn cases() -> Vec<Case> {
    CELERY.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The options of a mark.
fn set(node: &mut Node, mark: u8) {
    if mark == 0 {
        return;
    }
    let options = node.options_mut();
    options.queue = Some(format!("option{mark}").as_str().into());
    options.priority = Some(mark.into());
    options.rare_mut().headers = [(format!("h{mark}"), Json::from_serialize(&mark).unwrap())].into();
}

impl Case {
    fn build(&self, flow: &str, path: &str) -> Node {
        let mut marks = self.marks.bytes().map(|digit| digit - b'0');
        let mut node = build(&Shape::read(&self.shape), &mut marks, flow, path);
        set(&mut node, self.call);
        node
    }

    /// The outcome, in which each task has the three options of one mark.
    fn expected(&self) -> BTreeMap<String, [String; 3]> {
        let mut outcome = read(&self.came);
        outcome.values_mut().for_each(|[queue, priority, _]| priority.clone_from(queue));
        outcome
    }
}

fn build(shape: &Shape, marks: &mut impl Iterator<Item = u8>, flow: &str, path: &str) -> Node {
    let mark = marks.next().unwrap();
    let mut parts = |parts: &[Shape]| parts.iter().map(|part| build(part, marks, flow, path)).collect::<Vec<_>>();
    let mut node = match shape {
        Shape::Task(task) => {
            let kwargs = [("path", path), ("flow", flow), ("target", task)];
            let kwargs = kwargs.map(|(name, value)| (name.to_owned(), Json::from_serialize(&value).unwrap())).into();
            let arguments = apium::task::Arguments::new(Vec::new(), kwargs);
            TaskNode::new(CallSpec::named("canvas.options", arguments)).into()
        }
        Shape::Chain(steps) => Node::chain(parts(steps)),
        Shape::Pipe(steps) => parts(steps).into_iter().reduce(Node::pipe).unwrap(),
        Shape::Group(members) => Node::group(parts(members)),
        Shape::Chord(header, body) => {
            let header = parts(header);
            let body = parts(std::slice::from_ref(body)).remove(0);
            Node::chord(header, body)
        }
        Shape::Steps(_) | Shape::At(..) => unreachable!("no case has one"),
    };
    set(&mut node, mark);
    node
}

/// An outcome as the digits of queue, priority and headers of each task.
fn read(came: &str) -> BTreeMap<String, [String; 3]> {
    let task = |text: &str| {
        let (name, digits) = text.split_at(1);
        let mut digits = digits.split('/').cycle().take(3).map(str::to_owned);
        (name.to_owned(), std::array::from_fn(|_| digits.next().unwrap()))
    };
    came.split(' ').map(task).collect()
}

/// The outcomes by the names of the flows, when each of so many tasks has recorded a line in the file.
async fn outcomes(path: &str, tasks: usize) -> HashMap<String, BTreeMap<String, [String; 3]>> {
    let (mut interval, start) = (tokio::time::interval(Duration::from_millis(20)), Instant::now());
    let lines = loop {
        interval.tick().await;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= tasks {
            break lines;
        }
        assert!(start.elapsed() < LIMIT, "{} of {tasks} tasks have run", lines.len());
    };
    assert_eq!(lines.len(), tasks);
    let mut outcomes: HashMap<String, BTreeMap<String, [String; 3]>> = HashMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [queue, priority, headers]: [&str; 3] = words[3].split('/').collect::<Vec<_>>().try_into().unwrap();
        let queue = queue.trim_start_matches("option").replace("celery", "0");
        let options = [queue, priority.to_owned(), headers.replace('h', "").replace('-', "0")];
        outcomes.entry(words[0].to_owned()).or_default().insert(words[2].to_owned(), options);
    }
    outcomes
}

/// Sends cases, from Rust or every other one from Python, and compares the outcomes.
async fn check(workers: Workers, cases: &[Case], python: bool) {
    let (path, mut requests) = (workers.path(), String::new());
    for (number, case) in cases.iter().enumerate() {
        let flow = format!("f{number}");
        if python && number % 2 == 1 {
            let (shape, marks, call) = (&case.shape, &case.marks, case.call);
            let request = json!({ "shape": shape, "marks": marks, "call": call, "flow": flow, "path": path });
            requests += &format!("{request}\n");
        } else {
            send(&workers.app, case.build(&flow, &path)).await.unwrap();
        }
    }
    if python {
        workers.run(PROGRAM, "send", &requests).await;
    }
    let tasks = cases.iter().map(|case| Shape::read(&case.shape).tasks().len()).sum();
    let mut outcomes = outcomes(&path, tasks).await;
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut outcome = outcomes.remove(&format!("f{number}")).unwrap();
        let (expected, with_celery) = (case.expected(), read(&case.came));
        if python {
            // It depends on which worker sent the task.
            for (task, options) in &mut outcome {
                if options[1] == with_celery[task][1] {
                    options[1].clone_from(&expected[task][1]);
                }
            }
        }
        if outcome != expected {
            wrong.push(format!("{case:?}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_reach_the_tasks_that_they_reach_with_celery() {
    check(Workers::of("memory://", &QUEUES).await, &cases(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_reach_the_same_tasks_whichever_side_sends_and_runs_them() {
    let mut cases = cases();
    if !is_set(FULL) {
        let mut number = 0;
        cases.retain(|_| {
            number += 1;
            number % ONE_OF == 0
        });
    }
    check(Workers::mixed_of(&fresh_database().url, &QUEUES).await, &cases, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_recorded_options_are_still_those_of_celery() {
    if !is_set(FULL) && !is_set(WRITE) {
        return;
    }
    let database = fresh_database();
    let _worker = celery_of(&database.url, &QUEUES.join(","));
    let printed = output(client_of(PROGRAM, &database.url, "oracle")).await;
    if is_set(WRITE) {
        std::fs::write(FILE, printed).unwrap();
        return;
    }
    assert_eq!(printed, CELERY);
}
