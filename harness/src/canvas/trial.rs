//! One chord from its sending to its end, and the deaths of its workers meanwhile.

use std::time::{Duration, Instant};

use apium::canvas::send;
use apium::prelude::*;
use apium_peers::redis_server::RedisServer;

use crate::canvas::case::{Case, Moment};
use crate::canvas::crew::{Crash, Crew};
use crate::canvas::fresh_stores::FreshStores;
use crate::canvas::tasks::{BODIES, BODY, INNER, LAST, PARTS};
use crate::child::Role;
use crate::faults::kit::run_log::RunLog;

/// How many workers take over.
const OTHERS: usize = 2;

/// How many workers are killed at random instants.
const KILLS: usize = 8;

/// How long to wait for each thing that must happen.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a worker that should die may live after the body has run.
const GRACE: Duration = Duration::from_millis(500);

/// How often conditions are checked.
const STEP: Duration = Duration::from_millis(5);

/// The outcome of a trial.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// Workers that died where they should.
    pub deaths: usize,
    /// Runs of the body.
    pub bodies: usize,
    /// Whether the body received every result in order, and its own result is stored.
    pub right: bool,
    /// Messages that are still in queues, in flight or in the dead set; and 1 for a chord that is still counted.
    pub leftover: u64,
    /// Runs of parts beyond the first of each.
    pub repeated: usize,
    /// From the first death to the result, in seconds.
    pub seconds: f64,
    /// Remarks on what went wrong.
    pub remarks: String,
}

struct Scene<'a> {
    case: &'a Case,
    crew: Crew,
    app: App,
    log: RunLog,
    stores: &'a FreshStores,
}

/// Sends the chord of `case` with `parts` parts, and lets workers die.
pub async fn run(case: &Case, parts: u64, server: &RedisServer) -> Result<Trial, BoxError> {
    let stores = FreshStores::new(case.driver, server)?;
    let log = RunLog::open(&stores.log())?;
    let crew = Crew::new(stores.stores(), log.path());
    let app = stores.stores().caller().await?;
    let scene = Scene { case, crew, app, log, stores: &stores };
    let mut protected = scene.crew.protected(BODIES)?;
    protected.line()?;
    let mut trial = Trial::default();
    let (result, workers, died) = match case.moment {
        Moment::Middle => scene.middle(parts, &mut trial).await?,
        Moment::Last => scene.last(parts, &mut trial).await?,
        Moment::Random => scene.random(parts, &mut trial).await?,
    };
    scene.examine(&result, parts, died, &mut trial).await?;
    for worker in workers.into_iter().chain([protected]) {
        if !worker.stop()? {
            return Err("stop a worker that was not killed: it failed".into());
        }
    }
    // What was in flight when the workers stopped has run by now.
    trial.bodies = scene.log.runs_of(BODY)?.len();
    scene.app.close().await?;
    Ok(trial)
}

type Played = (AsyncResult<Vec<u64>>, Vec<Role>, Instant);

impl Scene<'_> {
    async fn send(&self, parts: u64) -> Result<AsyncResult<Vec<u64>>, BoxError> {
        let sent = send(&self.app, self.case.shape.node(parts)?).await?;
        Ok(AsyncResult::of_tuple(&self.app, &sent))
    }

    fn others(&self, queues: &str) -> Result<Vec<Role>, BoxError> {
        std::iter::repeat_with(|| self.crew.start(queues)).take(OTHERS).collect()
    }

    fn crash(&self) -> Result<Crash, BoxError> {
        self.case.crash.ok_or_else(|| "kill at a crash point: the case names none".into())
    }

    /// One worker runs the chord until it dies; then other workers take over.
    async fn middle(&self, parts: u64, trial: &mut Trial) -> Result<Played, BoxError> {
        let mut victim = self.crew.armed(PARTS, self.crash()?)?;
        victim.line()?;
        let result = self.send(parts).await?;
        self.dies(&mut victim, trial).await?;
        Ok((result, self.others(PARTS)?, Instant::now()))
    }

    /// When all other parts have ended, a worker gets the last one and dies.
    async fn last(&self, parts: u64, trial: &mut Trial) -> Result<Played, BoxError> {
        let mut workers = vec![self.crew.start(PARTS)?];
        let result = self.send(parts).await?;
        if !self.comes_true(async || Ok(self.stores.leftover(&self.app).await? == 1)).await? {
            return Err("bring a chord to its last part: the others do not end".into());
        }
        let mut victim = self.crew.armed(LAST, self.crash()?)?;
        self.dies(&mut victim, trial).await?;
        workers.extend(self.others(&format!("{PARTS},{LAST}"))?);
        Ok((result, workers, Instant::now()))
    }

    /// Workers are killed one after the other, and each is replaced.
    async fn random(&self, parts: u64, trial: &mut Trial) -> Result<Played, BoxError> {
        let mut workers = self.others(PARTS)?;
        for worker in &mut workers {
            worker.line()?;
        }
        let began = Instant::now();
        let killer = async {
            for kill in 0..KILLS {
                // The first kill comes while the chord is being sent, or soon after.
                let most = if kill == 0 { parts * 20 } else { 100_000 };
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..most))).await;
                if kill > 0 && !self.log.runs_of(BODY)?.is_empty() {
                    break;
                }
                let victim = &mut workers[kill % OTHERS];
                victim.kill()?;
                trial.deaths += 1;
                *victim = self.crew.start(PARTS)?;
            }
            Ok(())
        };
        let (result, killed) = tokio::join!(self.send(parts), killer);
        let killed: Result<(), BoxError> = killed;
        killed?;
        Ok((result?, workers, began))
    }

    /// Waits until a worker has died at its crash point. One that does not reach it is killed when the body has run.
    async fn dies(&self, victim: &mut Role, trial: &mut Trial) -> Result<(), BoxError> {
        let deadline = Instant::now() + PATIENCE;
        let mut ran = None;
        loop {
            if victim.has_ended()? {
                trial.deaths += 1;
                return Ok(());
            }
            if ran.is_none() && !self.log.runs_of(BODY)?.is_empty() {
                ran = Some(Instant::now());
            }
            if ran.is_some_and(|ran| ran.elapsed() > GRACE) || Instant::now() > deadline {
                trial.remarks = "its worker did not reach the crash point".to_owned();
                return Ok(victim.kill()?);
            }
            tokio::time::sleep(STEP).await;
        }
    }

    async fn comes_true(&self, check: impl AsyncFn() -> Result<bool, BoxError>) -> Result<bool, BoxError> {
        let deadline = Instant::now() + PATIENCE;
        while !check().await? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(STEP * 2).await;
        }
        Ok(true)
    }

    /// Waits for the result and for empty queues, and records what it finds.
    async fn examine(
        &self,
        result: &AsyncResult<Vec<u64>>,
        parts: u64,
        died: Instant,
        trial: &mut Trial,
    ) -> Result<(), BoxError> {
        match result.get().timeout(PATIENCE).await {
            Ok(got) => {
                trial.right = got == self.case.shape.results(parts);
                if !trial.right {
                    trial.remarks +=
                        &format!(" the body received {} results: {:?} …", got.len(), &got[..got.len().min(5)]);
                }
            }
            Err(error) => trial.remarks += &format!(" {error:#}"),
        }
        trial.seconds = died.elapsed().as_secs_f64();
        self.comes_true(async || Ok(self.stores.leftover(&self.app).await? == 0)).await?;
        trial.leftover = self.stores.leftover(&self.app).await?;
        let chords =
            self.app.backend().and_then(|backend| backend.chords()).ok_or("count parts: the backend cannot")?;
        let header = result.parent().ok_or("find the header: the body has no parent")?;
        if let Some(count) = chords.count(header.id().as_str()).await? {
            trial.remarks += &format!(" the chord still counts: {} of {}", count.done, count.size);
            trial.leftover += 1;
        }
        let runs = self.log.by_number()?;
        trial.repeated = runs.range(..INNER).map(|(_, runs)| runs.len() - 1).sum();
        Ok(())
    }
}
