//! Sends flows, waits until nothing moves, and compares what became of each with what must.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apium::prelude::*;

use crate::canvas::case::Became;
use crate::canvas::flow::{Flow, queue};
use crate::canvas::ground::{Ground, LIMIT};
use crate::side::Side;

/// How long between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// All is done when so many looks in a row have found nothing to do: a message that Celery takes is nowhere for an instant.
const RESTING: u32 = 10;

/// And if what has become of the flows is not what must, nothing will come any more after so many.
const STALLED: u32 = 150;

/// How many flows a failure shows.
const SHOWN: usize = 8;

/// The number of the next file with what is wrong.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Sends flows; each must become what it must.
pub(crate) async fn check(ground: Ground, flows: &[Flow], how: &str) {
    let running = Running { results: send(&ground, flows).await, ground, flows };
    let rest = tokio::time::timeout(LIMIT, running.wrong_at_rest()).await;
    let (how, wrong) = match rest {
        Ok(wrong) => (how.to_owned(), wrong),
        Err(_) => (format!("{how}; the workers do not come to rest"), running.wrong().await),
    };
    if !wrong.is_empty() {
        // What is too much for a terminal is in a file.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("{}/canvas-{}-{number}.txt", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::write(&file, wrong.join("\n")).unwrap();
        let shown: Vec<&str> = wrong.iter().take(SHOWN).map(|text| &**text).collect();
        let (count, story) = (wrong.len(), running.ground.story().await);
        panic!("{how}; {count} became something else ({file}):\n\n{}\n\n{story}", shown.join("\n"));
    }
    running.ground.stop().await;
}

/// Sends each from its side; what the senders have in hand.
async fn send(ground: &Ground, flows: &[Flow]) -> Vec<String> {
    let (mut results, path) = (vec![String::new(); flows.len()], ground.path());
    let of = |side| flows.iter().enumerate().filter(move |(_, flow)| flow.sender == side);
    let requests: Vec<_> = of(Side::Python).map(|(number, flow)| flow.request(&Flow::name(number), &path)).collect();
    if !requests.is_empty() {
        let sent = ground.send_from_python(&requests).await;
        for ((number, _), result) in of(Side::Python).zip(sent) {
            results[number] = result;
        }
    }
    for (number, flow) in of(Side::Rust) {
        results[number] = flow.send(&ground.app, &Flow::name(number), &path).await;
    }
    results
}

/// Flows that have been sent.
struct Running<'a> {
    ground: Ground,
    flows: &'a [Flow],
    results: Vec<String>,
}

impl Running<'_> {
    /// What is wrong when nothing moves any more.
    async fn wrong_at_rest(&self) -> Vec<String> {
        let (mut looks, mut resting) = (tokio::time::interval(LOOK), 0);
        loop {
            looks.tick().await;
            resting = if self.ground.is_busy().await { 0 } else { resting + 1 };
            if resting == RESTING || resting == STALLED {
                let wrong = self.wrong().await;
                if wrong.is_empty() || resting == STALLED {
                    return wrong;
                }
            }
        }
    }

    /// The flows that have become something else than they must, as a text each.
    async fn wrong(&self) -> Vec<String> {
        let (mut notes, mut wrong) = (self.notes(), Vec::new());
        for (number, flow) in self.flows.iter().enumerate() {
            let name = Flow::name(number);
            let expected = flow.expected();
            let ends = self.ends(flow, &name).await;
            let notes = notes.remove(&name).unwrap_or_default();
            let became = Became { result: self.results[number].clone(), ends, notes };
            if !expected.contains(&became) {
                let Flow { case, owners, sender } = flow;
                let fails = case.fails.as_deref().unwrap_or("nothing");
                wrong.push(format!(
                    "{}, {fails} fails, tasks of {owners:?}, sent by {sender:?} ({name}):\n{}",
                    case.text,
                    unlike(&expected[0], &became)
                ));
            }
        }
        wrong
    }

    async fn ends(&self, flow: &Flow, name: &str) -> BTreeMap<String, String> {
        let mut ends = BTreeMap::new();
        for task in flow.case.shape.tasks() {
            let document = self.ground.app.result::<Json>(format!("{name}-{task}")).document().await.unwrap();
            ends.insert(task.to_owned(), end(name, document));
        }
        ends
    }

    /// What was done for each flow, sorted. Who did it must be who serves its queue.
    fn notes(&self) -> HashMap<String, Vec<String>> {
        let mut notes: HashMap<String, Vec<String>> = HashMap::new();
        for line in std::fs::read_to_string(self.ground.path()).unwrap_or_default().lines() {
            let (flow, note) = line.split_once(' ').unwrap();
            let (note, who) = note.rsplit_once(' ').unwrap();
            let of = self.flows[flow[1..].parse::<usize>().unwrap()];
            let mut words = note.split(' ');
            let (what, place) = (words.next().unwrap(), words.next().unwrap());
            let owner = of.owner(if place == "whole" { of.case.shape.tasks()[0] } else { place });
            // An errback of the new kind is called by whoever learns of the failure.
            let note = match what == "told" || who == queue(owner) {
                true => note.to_owned(),
                false => format!("{note} (by {who})"),
            };
            notes.entry(flow.to_owned()).or_default().push(note);
        }
        notes.values_mut().for_each(|notes| notes.sort_unstable());
        notes
    }
}

/// What is stored of a task, as `canvas_client.py` tells it.
fn end(flow: &str, document: Option<ResultDocument>) -> String {
    let Some(document) = document else { return TaskState::Pending.to_string() };
    match document.state {
        TaskState::Success => serde_json::from_str(document.result.as_str()).unwrap(),
        TaskState::Failure => {
            let exception = ExceptionInfo::from_json(&document.result);
            let texts = exception.exc_message.iter().map(|text| serde_json::from_str::<String>(text.as_str()).unwrap());
            let text = texts.collect::<Vec<_>>().join(" ").replace(&format!("{flow}-"), "");
            format!("!{}: {text}", exception.exc_type)
        }
        other => other.to_string(),
    }
}

/// Where two differ.
fn unlike(expected: &Became, became: &Became) -> String {
    let mut lines = Vec::new();
    if expected.result != became.result {
        lines.push(format!("  its result is {}, and must be {}", became.result, expected.result));
    }
    for (task, end) in &became.ends {
        if expected.ends[task] != *end {
            lines.push(format!("  {task} ended as {end}, and must as {}", expected.ends[task]));
        }
    }
    let (missing, surplus) = (without(&expected.notes, &became.notes), without(&became.notes, &expected.notes));
    if !missing.is_empty() {
        lines.push(format!("  not done: {missing:?}"));
    }
    if !surplus.is_empty() {
        lines.push(format!("  done without need: {surplus:?}"));
    }
    lines.join("\n")
}

/// What is in one list and not in the other, each as often as it is.
fn without<'a>(list: &'a [String], other: &[String]) -> Vec<&'a str> {
    let mut other = other.to_vec();
    let is_extra = |note: &&String| match other.iter().position(|there| there == *note) {
        Some(place) => {
            other.swap_remove(place);
            false
        }
        None => true,
    };
    list.iter().filter(is_extra).map(|note| &**note).collect()
}
