//! Rounds in which every place panics or hangs, with innocent tasks among them. Each place costs its own task only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium::canvas;
use apium::prelude::*;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::RunLog;
use crate::scratch::ScratchFolder;
use crate::torture::store::{leftover, wait_until};
use crate::user_code::app::{SLOTS, app};
use crate::user_code::broken::hide_panics_on_purpose;
use crate::user_code::places::{End, PLACES, Place, node};
use crate::user_code::stops;

/// Innocent tasks for each place.
const INNOCENTS: usize = 2;

/// How many messages are sent at the same time.
const CALLERS: usize = 16;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Checks a driver, with late and with early acknowledgement. `builder` makes an app on a store that is empty.
pub async fn check(rounds: u64, mut builder: impl FnMut() -> AppBuilder) -> Result<Outcome, BoxError> {
    hide_panics_on_purpose();
    let late = with_acks(builder(), rounds, true).await?;
    Ok(late.and(with_acks(builder(), rounds, false).await?))
}

async fn with_acks(builder: AppBuilder, rounds: u64, acks_late: bool) -> Result<Outcome, BoxError> {
    let scratch = ScratchFolder::new()?;
    let log = Arc::new(RunLog::open(&scratch.folder().join("runs"))?);
    let (app, shared) = app(builder, log, acks_late).await?;
    let worker = app.worker().concurrency(SLOTS).start().await?;
    let mut tally = Tally { rounds, acks_late, ..Tally::default() };
    for round in 0..rounds {
        one_round(&app, round, &mut tally).await?;
        tally.healthy += u64::from(worker.health().is_green());
        // What hangs goes on: a worker that loses thread after thread stops, and rightly so.
        shared.released.send_replace(true);
        let none = async || Ok(worker.leaked_threads() == 0);
        tally.leaked += u64::from(!wait_until(PATIENCE, none).await?);
        shared.released.send_replace(false);
        if tally.healthy <= round {
            // It may have stopped, and all that follows would wait in vain.
            break;
        }
    }
    tally.dead_letters(&app).await?;
    // What it left in the dead set was wanted.
    tally.leftover = leftover(&app).await?.saturating_sub(tally.dead);
    let runs = shared.log.by_number()?;
    tally.ran_once = runs.values().filter(|runs| runs.len() == 1).count();
    let warm = stops::warm(worker).await;
    let cold = stops::cold(&app, &shared, acks_late).await?;
    let left = leftover(&app).await?.saturating_sub(tally.dead);
    app.close().await?;
    let acks = Outcome::new(tally.is_kept(), format!("{} ack: {tally}", if acks_late { "late" } else { "early" }));
    Ok(acks.and(warm).and(cold).and(Outcome::new(left == 0, format!("{left} left over"))))
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    rounds: u64,
    acks_late: bool,
    innocents: usize,
    ran_once: usize,
    succeeded: usize,
    /// Tasks that ended as documented, and how many ended otherwise, by what they did.
    as_documented: usize,
    wrong: BTreeMap<String, usize>,
    healthy: u64,
    met: u64,
    dead: u64,
    leftover: u64,
    /// Rounds after which a thread did not come back.
    leaked: u64,
}

/// What one round sends.
struct Sent {
    places: Vec<(Place, String)>,
    innocents: Vec<String>,
}

async fn one_round(app: &App, round: u64, tally: &mut Tally) -> Result<(), BoxError> {
    let sent = send(app, round).await?;
    let of_places = sent.places.iter().filter(|(place, _)| place.end != End::Dead).map(|(_, id)| id);
    let ids: Vec<&str> = of_places.chain(&sent.innocents).map(String::as_str).collect();
    let ends = ends_of(app, &ids, PATIENCE).await?;
    tally.innocents += sent.innocents.len();
    tally.succeeded += sent.innocents.iter().filter(|id| ends[id.as_str()] == "SUCCESS").count();
    for (place, id) in sent.places.iter().filter(|(place, _)| place.end != End::Dead) {
        tally.note(place, &ends[id.as_str()]);
    }
    tally.met += u64::from(slots_work(app, round).await?);
    Ok(())
}

/// Sends every place and the innocent tasks, in any order.
async fn send(app: &App, round: u64) -> Result<Sent, BoxError> {
    let places: Vec<(Place, String)> =
        PLACES.iter().map(|place| (*place, format!("{}-{round}", place.name()))).collect();
    let first = round * (PLACES.len() * INNOCENTS) as u64;
    let numbers = first..first + (PLACES.len() * INNOCENTS) as u64;
    let innocents: Vec<String> = numbers.clone().map(|number| format!("innocent-{number}")).collect();
    let mut nodes = Vec::new();
    for (place, id) in &places {
        nodes.push(place.node(id)?);
    }
    for (number, id) in numbers.zip(&innocents) {
        let task = if number % 2 == 0 { "innocent" } else { "plain_innocent" };
        let mut node = node(task, &[number.into()])?;
        node.options_mut().task_id = Some(id.as_str().into());
        nodes.push(node);
    }
    fastrand::shuffle(&mut nodes);
    let calls = stream::iter(nodes).map(|node| canvas::send(app, node)).buffer_unordered(CALLERS);
    calls.try_for_each(|_| std::future::ready(Ok(()))).await?;
    Ok(Sent { places, innocents })
}

/// Waits until the tasks have ended: the state of each, with the type of its exception.
pub(super) async fn ends_of<'a>(
    app: &App,
    ids: &[&'a str],
    patience: Duration,
) -> Result<BTreeMap<&'a str, String>, BoxError> {
    let mut ends: BTreeMap<&str, String> = ids.iter().map(|id| (*id, "PENDING".to_owned())).collect();
    let all_end = async || {
        for (id, end) in ends.iter_mut().filter(|(_, end)| !is_end(end)) {
            let Some(document) = app.result::<Json>(*id).document().await? else { continue };
            *end = document.state.to_string();
            if end == "FAILURE" {
                let error: serde_json::Value = document.result.decode()?;
                *end = format!("FAILURE {}", error["exc_type"].as_str().unwrap_or("?"));
            }
        }
        Ok(ends.values().all(|end| is_end(end)))
    };
    // Those that have not ended are counted by their state.
    wait_until(patience, all_end).await?;
    Ok(ends)
}

fn is_end(end: &str) -> bool {
    ["SUCCESS", "FAILURE", "REVOKED"].iter().any(|state| end.starts_with(state))
}

/// Whether every slot runs a task at the same time, and then every one a plain function.
async fn slots_work(app: &App, round: u64) -> Result<bool, BoxError> {
    let mut work = true;
    for task in ["meets", "plain_meets"] {
        let ids: Vec<String> = (0..SLOTS).map(|slot| format!("{task}-{round}-{slot}")).collect();
        for id in &ids {
            let mut node = node(task, &[])?;
            node.options_mut().task_id = Some(id.as_str().into());
            canvas::send(app, node).await?;
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        work &= ends_of(app, &ids, PATIENCE).await?.values().all(|end| end == "SUCCESS");
    }
    Ok(work)
}

impl Tally {
    fn note(&mut self, place: &Place, end: &str) {
        let wanted = match place.end {
            End::Success => "SUCCESS".to_owned(),
            End::Failure(class) => format!("FAILURE {class}"),
            End::Rejected => "FAILURE Reject".to_owned(),
            End::Dead => "dead".to_owned(),
        };
        if end == wanted {
            self.as_documented += 1;
        } else {
            *self.wrong.entry(format!("{} is {end} instead of {wanted}", place.name())).or_default() += 1;
        }
    }

    /// Looks for the messages that belong into the dead set.
    async fn dead_letters(&mut self, app: &App) -> Result<(), BoxError> {
        let dead = app.broker().dead().ok_or("read the dead set: this broker has none")?;
        let places: Vec<&Place> = PLACES.iter().filter(|place| place.is_dead(self.acks_late)).collect();
        let wanted = places.len() * usize::try_from(self.rounds)?;
        let all = async || Ok(dead.count().await? >= wanted as u64);
        wait_until(PATIENCE, all).await?;
        let letters = dead.list(0, wanted * 2).await?;
        let ids: BTreeSet<&str> = letters.iter().filter_map(|letter| letter.task_id.as_deref()).collect();
        for place in places {
            for round in 0..self.rounds {
                let is_there = ids.contains(&*format!("{}-{round}", place.name()));
                self.dead += u64::from(is_there);
                match (is_there, place.end) {
                    (true, End::Rejected) => {}
                    (true, _) => self.note(place, "dead"),
                    (false, _) => self.note(place, "not in the dead set"),
                }
            }
        }
        Ok(())
    }

    fn is_kept(&self) -> bool {
        let all = [self.ran_once, self.succeeded] == [self.innocents; 2] && self.innocents > 0;
        let rounds = [self.healthy, self.met] == [self.rounds; 2];
        all && rounds && self.wrong.is_empty() && self.leftover == 0 && self.leaked == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, innocents, ran_once, succeeded, as_documented, wrong, healthy, met, .. } = self;
        write!(
            f,
            "{} places × {rounds} rounds: {as_documented} ended as documented, {} did not",
            PLACES.len(),
            wrong.values().sum::<usize>()
        )?;
        for (what, count) in wrong {
            write!(f, ", {count}× {what}")?;
        }
        write!(
            f,
            "; of {innocents} innocent tasks {ran_once} ran once and {succeeded} succeeded; health was green after {healthy} \
             rounds, all {SLOTS} slots worked after {met}; {} left over, {} threads lost",
            self.leftover, self.leaked
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Tally {
        Tally { rounds: 2, innocents: 4, ran_once: 4, succeeded: 4, healthy: 2, met: 2, ..Tally::default() }
    }

    #[test]
    fn each_count_matters() {
        assert!(good().is_kept());
        assert!(!Tally { innocents: 0, ran_once: 0, succeeded: 0, ..good() }.is_kept());
        assert!(!Tally { ran_once: 3, ..good() }.is_kept());
        assert!(!Tally { succeeded: 3, ..good() }.is_kept());
        assert!(!Tally { healthy: 1, ..good() }.is_kept());
        assert!(!Tally { met: 1, ..good() }.is_kept());
        assert!(!Tally { leftover: 1, ..good() }.is_kept());
        assert!(!Tally { leaked: 1, ..good() }.is_kept());
        let mut wrong = good();
        wrong.note(&PLACES[0], "PENDING");
        assert!(!wrong.is_kept());
        assert!(wrong.to_string().contains("body is PENDING instead of FAILURE Panic"), "{wrong}");
    }
}
