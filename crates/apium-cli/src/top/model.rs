//! What the view shows, and what it is asked: changed by keys, events and answers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apium_app::control::pause::PausedQueue;
use apium_app::events::fleet_state::FleetState;
use apium_app::events::receiver::ReceivedEvent;
use apium_transport::broker::dead_set::DeadLetter;
use apium_transport::broker::queue_admin::QueueStats;
use jiff::Timestamp;

use crate::top::collect::{Collected, NodeAnswers};
use crate::top::rates::Rate;
use crate::top::rows::{self, Row};

/// How long a worker that did not answer is still shown with its last answer.
const ANSWER_LIVES: Duration = Duration::from_secs(30);

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tab {
    Workers,
    Tasks,
    Queues,
    Dead,
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Workers, Self::Tasks, Self::Queues, Self::Dead];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Workers => "Workers",
            Self::Tasks => "Tasks",
            Self::Queues => "Queues",
            Self::Dead => "Dead",
        }
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or_default()
    }

    /// The tab so many further, around the end.
    pub(super) fn moved(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()]
    }
}

/// Something that is done when it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Revoke { id: String, terminate: bool },
    RateLimit { task: String, limit: String },
    Pause { queue: String, reason: String },
    Resume { queue: String },
    Replay { key: u64 },
    EnableEvents,
}

impl Action {
    /// What is asked before it is done.
    pub(super) fn question(&self) -> String {
        match self {
            Self::Revoke { id, terminate: false } => format!("revoke task {id}?"),
            Self::Revoke { id, terminate: true } => format!("revoke and terminate task {id}?"),
            Self::RateLimit { task, limit } => format!("limit {task} to {limit} in each worker?"),
            Self::Pause { queue, reason } if reason.is_empty() => format!("pause queue {queue}?"),
            Self::Pause { queue, reason } => format!("pause queue {queue} ({reason})?"),
            Self::Resume { queue } => format!("resume queue {queue}?"),
            Self::Replay { key } => format!("send dead message {key} back to its queue?"),
            Self::EnableEvents => "let all workers send events of tasks?".to_owned(),
        }
    }
}

/// A text that is asked for, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prompt {
    /// The filter of the list.
    Filter,
    RateLimit {
        task: String,
    },
    Reason {
        queue: String,
    },
}

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    List,
    Help,
    Details,
    Ask(Prompt, String),
    Confirm(Action),
}

/// The model.
#[derive(Debug)]
pub(super) struct Model {
    /// Where the broker is.
    pub(super) broker: String,
    pub(super) now: Timestamp,
    pub(super) tab: Tab,
    pub(super) mode: Mode,
    pub(super) filter: String,
    /// The chosen row of each tab.
    pub(super) chosen: [usize; 4],
    /// What happened last, for the line at the bottom.
    pub(super) message: Option<String>,
    pub(super) fleet: FleetState,
    pub(super) nodes: BTreeMap<String, (NodeAnswers, Timestamp)>,
    pub(super) queues: Vec<QueueStats>,
    pub(super) paused: BTreeMap<String, PausedQueue>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) dead_count: u64,
    pub(super) succeeded: Rate,
    pub(super) failed: Rate,
    pub(super) retried: Rate,
    /// What each worker ended, by its events: succeeded, failed.
    pub(super) ends: BTreeMap<String, (u64, u64)>,
}

/// How many workers have their ends counted.
const MOST_WORKERS: usize = 5_000;

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(broker: String, now: Timestamp) -> Self {
        Self {
            broker,
            now,
            tab: Tab::Workers,
            mode: Mode::List,
            filter: String::new(),
            chosen: [0; 4],
            message: None,
            fleet: FleetState::new(),
            nodes: BTreeMap::new(),
            queues: Vec::new(),
            paused: BTreeMap::new(),
            dead: Vec::new(),
            dead_count: 0,
            succeeded: Rate::default(),
            failed: Rate::default(),
            retried: Rate::default(),
            ends: BTreeMap::new(),
        }
    }

    /// An event came.
    pub(super) fn event(&mut self, received: &ReceivedEvent) {
        let second = received.at.as_second();
        let host = &*received.event.hostname;
        match &*received.event.kind {
            "task-succeeded" => {
                self.succeeded.count(second);
                self.end_of(host, |ends| ends.0 += 1);
            }
            "task-failed" => {
                self.failed.count(second);
                self.end_of(host, |ends| ends.1 += 1);
            }
            "task-retried" => self.retried.count(second),
            _ => {}
        }
        self.fleet.event(received);
    }

    fn end_of(&mut self, host: &str, count: impl FnOnce(&mut (u64, u64))) {
        if let Some(ends) = self.ends.get_mut(host) {
            count(ends);
        } else if self.ends.len() < MOST_WORKERS {
            count(self.ends.entry(host.to_owned()).or_default());
        }
    }

    /// Workers and broker answered.
    pub(super) fn collected(&mut self, collected: Collected) {
        for (node, answers) in collected.nodes {
            self.nodes.insert(node, (answers, self.now));
        }
        let oldest = self.now.saturating_sub(ANSWER_LIVES).unwrap_or(Timestamp::MIN);
        self.nodes.retain(|_, (_, at)| *at >= oldest);
        self.queues = collected.queues;
        self.paused = collected.paused.into_iter().map(|paused| (paused.queue.clone(), paused)).collect();
        for queue in self.paused.keys() {
            if !self.queues.iter().any(|listed| listed.queue == *queue) {
                self.queues.push(QueueStats::new(queue.clone()));
            }
        }
        self.dead = collected.dead;
        self.dead_count = collected.dead_count;
        if let Some(error) = collected.error {
            self.message = Some(error);
        }
        self.keep_in_list();
    }

    /// The names of all workers: those that answered, and those whose events came.
    pub(super) fn workers(&self) -> BTreeSet<&str> {
        let by_events = self.fleet.workers().map(|worker| &*worker.hostname);
        self.nodes.keys().map(String::as_str).chain(by_events).collect()
    }

    /// Whether a worker answered lately, or sent a sign of life.
    pub(super) fn is_alive(&self, worker: &str) -> bool {
        self.nodes.contains_key(worker) || self.fleet.worker(worker).is_some_and(|worker| worker.is_alive(self.now))
    }

    /// How many tasks run, as far as workers have answered.
    pub(super) fn active(&self) -> usize {
        self.nodes.values().map(|(answers, _)| answers.active.len()).sum()
    }

    /// The rows of the list, as the filter leaves them.
    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = rows::of(self);
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        rows.into_iter().filter(|row| words.iter().all(|word| row.contains(word))).collect()
    }

    /// The chosen row.
    pub(super) fn chosen_row(&self) -> Option<Row> {
        self.rows().into_iter().nth(self.chosen[self.tab.index()])
    }

    /// Chooses the row so many further down or up.
    pub(super) fn choose(&mut self, by: isize) {
        let chosen = &mut self.chosen[self.tab.index()];
        *chosen = chosen.saturating_add_signed(by);
        self.keep_in_list();
    }

    /// Chooses the last row where the list became shorter.
    pub(super) fn keep_in_list(&mut self) {
        let last = self.rows().len().saturating_sub(1);
        let chosen = &mut self.chosen[self.tab.index()];
        *chosen = (*chosen).min(last);
    }
}
