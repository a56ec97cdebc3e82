//! `durable-revokes`: tasks are revoked while no worker is up, and others while workers are killed and started again.
//! None of them runs, and everything else does.

use std::collections::BTreeMap;
use std::time::Duration;

use apium::prelude::*;

use crate::faults::kit::row::Outcome;
use crate::operating::crew::{Crew, Post, Worker};
use crate::operating::revoked_work::{End, Work};
use crate::operating::size::Size;
use crate::operating::tasks::id;
use crate::torture::store::{LEASE, wait_until};

/// What is guaranteed, in a few words.
pub const WHAT: &str = "a revoke is honoured by workers that start after it";

/// How many workers run at a time.
const WORKERS: usize = 3;

/// How long the tasks of a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The countdown of what is revoked while workers are killed: long enough that none has begun.
const COUNTDOWN: Duration = Duration::from_secs(2);

/// Runs the test with workers of `crew`. The server is killed and started again, too.
pub async fn check(crew: &Crew, size: &Size) -> Result<Outcome, BoxError> {
    let mut work = Work::default();
    let (mut kills, mut restarts, mut late) = (0, 0, 0);
    for round in 0..size.revokes {
        work.send_and_revoke(&crew.app, round).await?;
        if let Some(server) = &crew.server {
            tokio::task::block_in_place(|| server.restart());
            restarts += 1;
        }
        let mut workers = start_all(crew)?;
        work.send_alone(&crew.app, COUNTDOWN, 4).await?;
        for kill in 0..size.kills {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..400))).await;
            let next = crew.start(Post::USUAL)?;
            std::mem::replace(&mut workers[kill % WORKERS], next).kill().await?;
            kills += 1;
        }
        late += usize::from(!wait_until(PATIENCE, async || ended(&crew.app, &work).await).await?);
        // The next round begins with no worker up.
        for worker in workers {
            worker.kill().await?;
            kills += 1;
        }
    }
    // What a killed worker had comes back when its lease has ended, and may run then.
    let mut last = crew.start_ready(Post::USUAL).await?;
    tokio::time::sleep(LEASE * 3).await;
    let nothing_left = async || Ok(crew.leftover().await? == 0);
    let emptied = wait_until(PATIENCE, nothing_left).await?;
    last.terminate()?;
    let stopped = last.stopped().await?;
    let tally = Tally::count(crew, &work).await?;
    let left = crew.leftover().await?;
    let kept = tally.is_kept() && late == 0 && emptied && stopped && left == 0;
    let servers = if restarts > 0 { format!(", {restarts} of the server") } else { String::new() };
    let text = format!(
        "{} tasks, {} workflows among them, {} tasks revoked, {kills} kills of workers{servers}: {tally}, {left} left over",
        work.ends.len(),
        work.workflows,
        work.count(End::Revoked),
    );
    Ok(Outcome::new(kept, text))
}

fn start_all(crew: &Crew) -> Result<Vec<Worker>, BoxError> {
    (0..WORKERS).map(|_| crew.start(Post::USUAL)).collect()
}

/// The state that a task must have in the end.
fn wanted(end: End) -> TaskState {
    match end {
        End::Succeeds => TaskState::Success,
        End::Revoked => TaskState::Revoked,
        End::Fails => TaskState::Failure,
        End::Never => TaskState::Pending,
    }
}

/// Whether every task has ended as it must.
async fn ended(app: &App, work: &Work) -> Result<bool, BoxError> {
    for (number, end) in work.all() {
        if app.result::<Json>(id(number)).state().await? != wanted(end) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What became of all tasks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Revoked tasks that ran.
    revoked_ran: usize,
    /// Others that must not run, and did.
    others_ran: usize,
    /// Tasks that must run, and did not.
    lost: usize,
    /// Runs beyond the first of each task.
    repeated: usize,
    /// Tasks that did not end as they must, by what they must and did.
    wrong: BTreeMap<String, usize>,
}

impl Tally {
    async fn count(crew: &Crew, work: &Work) -> Result<Self, BoxError> {
        let runs = crew.log.by_number()?;
        let mut tally = Self::default();
        for (number, end) in work.all() {
            let ran = runs.get(&number).map_or(0, Vec::len);
            match end {
                End::Succeeds => tally.lost += usize::from(ran == 0),
                End::Revoked => tally.revoked_ran += usize::from(ran > 0),
                End::Fails | End::Never => tally.others_ran += usize::from(ran > 0),
            }
            tally.repeated += ran.saturating_sub(1);
            let state = crew.app.result::<Json>(id(number)).state().await?;
            if state != wanted(end) {
                *tally.wrong.entry(format!("{state} and not {}", wanted(end))).or_default() += 1;
            }
        }
        Ok(tally)
    }

    fn is_kept(&self) -> bool {
        // Late acknowledgement allows that a run is repeated.
        [self.revoked_ran, self.others_ran, self.lost] == [0; 3] && self.wrong.is_empty()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { revoked_ran, others_ran, lost, repeated, wrong } = self;
        write!(f, "{revoked_ran} revoked ones ran, {others_ran} behind or after them ran, {lost} lost, ")?;
        write!(f, "{repeated} repeated after kills")?;
        wrong.iter().try_for_each(|(what, count)| write!(f, ", {count}× {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repetition_is_allowed() {
        assert!(Tally { repeated: 3, ..Tally::default() }.is_kept());
        for tally in [
            Tally { revoked_ran: 1, ..Tally::default() },
            Tally { others_ran: 1, ..Tally::default() },
            Tally { lost: 1, ..Tally::default() },
            Tally { wrong: BTreeMap::from([("PENDING and not REVOKED".to_owned(), 1)]), ..Tally::default() },
        ] {
            assert!(!tally.is_kept(), "{tally:?}");
        }
    }
}
