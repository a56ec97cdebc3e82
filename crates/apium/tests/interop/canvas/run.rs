//! Sends flows, waits until the workers are idle, and compares the outcome of each with the expected one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apium::prelude::*;

use crate::canvas::case::Outcome;
use crate::canvas::flow::{Flow, queue};
use crate::canvas::workers::{LIMIT, Workers};
use crate::kit::side::Side;

/// How often the workers are checked.
const INTERVAL: Duration = Duration::from_millis(20);

/// The workers count as idle after this many checks in a row without a message. One check is not enough: a message that
/// Celery claims is in no key for an instant.
const IDLE: u32 = 10;

/// After this many checks in a row without a message, an outcome that differs is final.
const FINAL: u32 = 150;

/// How many flows a failure prints.
const SHOWN: usize = 8;

/// The number of the next file of wrong outcomes.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Sends flows and checks that each has an expected outcome.
pub(crate) async fn check(workers: Workers, flows: &[Flow], how: &str) {
    let running = Running { results: send(&workers, flows).await, workers, flows };
    let settled = tokio::time::timeout(LIMIT, running.wrong_when_idle()).await;
    let (how, wrong) = match settled {
        Ok(wrong) => (how.to_owned(), wrong),
        Err(_) => (format!("{how}; the workers do not become idle"), running.wrong().await),
    };
    if !wrong.is_empty() {
        // A file has the wrong outcomes that are too many for a terminal.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("{}/canvas-{}-{number}.txt", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::write(&file, wrong.join("\n")).unwrap();
        let shown: Vec<&str> = wrong.iter().take(SHOWN).map(|text| &**text).collect();
        let (count, report) = (wrong.len(), running.workers.report().await);
        panic!("{how}; {count} have another outcome ({file}):\n\n{}\n\n{report}", shown.join("\n"));
    }
    running.workers.stop().await;
}

/// Sends each flow from its side and returns the results that the senders get.
async fn send(workers: &Workers, flows: &[Flow]) -> Vec<String> {
    let (mut results, path) = (vec![String::new(); flows.len()], workers.path());
    let of = |side| flows.iter().enumerate().filter(move |(_, flow)| flow.sender == side);
    let requests: Vec<_> = of(Side::Python).map(|(number, flow)| flow.request(&Flow::name(number), &path)).collect();
    if !requests.is_empty() {
        let sent = workers.send_from_python(&requests).await;
        for ((number, _), result) in of(Side::Python).zip(sent) {
            results[number] = result;
        }
    }
    for (number, flow) in of(Side::Rust) {
        results[number] = flow.send(&workers.app, &Flow::name(number), &path).await;
    }
    results
}

/// Flows that have been sent.
struct Running<'a> {
    workers: Workers,
    flows: &'a [Flow],
    results: Vec<String>,
}

impl Running<'_> {
    /// Waits until the workers are idle and returns the wrong outcomes.
    async fn wrong_when_idle(&self) -> Vec<String> {
        let (mut interval, mut idle) = (tokio::time::interval(INTERVAL), 0);
        loop {
            interval.tick().await;
            idle = if self.workers.is_busy().await { 0 } else { idle + 1 };
            if idle == IDLE || idle == FINAL {
                let wrong = self.wrong().await;
                if wrong.is_empty() || idle == FINAL {
                    return wrong;
                }
            }
        }
    }

    /// The flows with a wrong outcome, as a text each.
    async fn wrong(&self) -> Vec<String> {
        let (mut done, mut wrong) = (self.done(), Vec::new());
        for (number, flow) in self.flows.iter().enumerate() {
            let name = Flow::name(number);
            let mut expected = flow.expected();
            let stored = self.stored(flow, &name).await;
            let done = done.remove(&name).unwrap_or_default();
            let mut outcome = Outcome { result: self.results[number].clone(), stored, done };
            if let Some(row) = flow.case.row {
                expected.iter_mut().chain([&mut outcome]).for_each(|outcome| row.without_links(outcome));
            }
            if !expected.contains(&outcome) {
                let Flow { case, owners, sender } = flow;
                let fails = case.fails.as_deref().unwrap_or("nothing");
                wrong.push(format!(
                    "{}, {fails} fails, tasks of {owners:?}, sent by {sender:?} ({name}):\n{}",
                    case.text,
                    difference(&expected[0], &outcome)
                ));
            }
        }
        wrong
    }

    async fn stored(&self, flow: &Flow, name: &str) -> BTreeMap<String, String> {
        let mut stored = BTreeMap::new();
        for task in flow.case.shape.tasks() {
            let document = self.workers.app.result::<Json>(format!("{name}-{task}")).document().await.unwrap();
            stored.insert(task.to_owned(), end(name, document));
        }
        stored
    }

    /// What ran for each flow, sorted. The worker must be one of the task's queue.
    fn done(&self) -> HashMap<String, Vec<String>> {
        let mut done: HashMap<String, Vec<String>> = HashMap::new();
        for line in std::fs::read_to_string(self.workers.path()).unwrap_or_default().lines() {
            let (flow, record) = line.split_once(' ').unwrap();
            let (record, who) = record.rsplit_once(' ').unwrap();
            let of = self.flows[flow[1..].parse::<usize>().unwrap()];
            let mut words = record.split(' ');
            let (what, target) = (words.next().unwrap(), words.next().unwrap());
            let owner = of.owner(if target == "whole" { of.case.shape.tasks()[0] } else { target });
            // An errback of the new style is called by the worker that fails the task.
            let record = match what == "called" || who == queue(owner) {
                true => record.to_owned(),
                false => format!("{record} (by {who})"),
            };
            done.entry(flow.to_owned()).or_default().push(record);
        }
        done.values_mut().for_each(|done| done.sort_unstable());
        done
    }
}

/// What is stored of a task, as `canvas_client.py` writes it.
fn end(flow: &str, document: Option<ResultDocument>) -> String {
    let Some(document) = document else { return TaskState::Pending.to_string() };
    match document.state {
        TaskState::Success => match serde_json::from_str(document.result.as_str()).unwrap() {
            serde_json::Value::String(text) => text,
            // The list of a group that replaced a task.
            other => other.to_string(),
        },
        TaskState::Failure => {
            let exception = ExceptionInfo::from_json(&document.result);
            let texts = exception.exc_message.iter().map(|text| serde_json::from_str::<String>(text.as_str()).unwrap());
            let text = texts.collect::<Vec<_>>().join(" ").replace(&format!("{flow}-"), "");
            format!("!{}: {text}", exception.exc_type)
        }
        other => other.to_string(),
    }
}

/// How two outcomes differ.
fn difference(expected: &Outcome, outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if expected.result != outcome.result {
        lines.push(format!("  its result is {}, and should be {}", outcome.result, expected.result));
    }
    for (task, end) in &outcome.stored {
        if expected.stored[task] != *end {
            lines.push(format!("  {task} ended as {end}, and should end as {}", expected.stored[task]));
        }
    }
    let (missing, surplus) = (without(&expected.done, &outcome.done), without(&outcome.done, &expected.done));
    if !missing.is_empty() {
        lines.push(format!("  missing: {missing:?}"));
    }
    if !surplus.is_empty() {
        lines.push(format!("  not expected: {surplus:?}"));
    }
    lines.join("\n")
}

/// The elements of one list that are not in the other, counted.
fn without<'a>(list: &'a [String], other: &[String]) -> Vec<&'a str> {
    let mut other = other.to_vec();
    let is_extra = |line: &&String| match other.iter().position(|other| other == *line) {
        Some(index) => {
            other.swap_remove(index);
            false
        }
        None => true,
    };
    list.iter().filter(is_extra).map(|line| &**line).collect()
}
