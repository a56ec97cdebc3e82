//! What the end of a run does to the workflow around it, within the script that settles its delivery.
//!
//! Within one delivery records, opens and parts come before all messages. When a part turns out to be the last one of its chord, the
//! script stops doing that delivery's operations, leaves it out, and answers with the parts. What follows of them is made here,
//! put behind the rest, and the delivery is settled again: by then nothing but counting is visible, and the messages, the end of
//! the chord and the ack are one step. Should this process die before it, the delivery comes again, finds its part counted, and has the
//! claim. Where there is no delivery any more, `outbox` makes one.

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::backend::chord::ChordEnd;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};
use apium_transport::error::Result;
use redis::Value;

use crate::backend::chord::read_parts;
use crate::scripts::chord_args::{Claim, OpenArgs, PartArgs};
use crate::scripts::operation::Operation;
use crate::scripts::result_args::RecordArgs;
use crate::scripts::route::Route;
use crate::settle::recount_message::Note;
use crate::shared::Core;

/// What is left of a workflow to be done with one delivery.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// What comes before messages.
    steps: VecDeque<Step>,
    /// The first is what the settlement brought, each other one what a chord makes whose parts have all come.
    stages: Vec<Stage>,
}

/// Messages, and what they belong to.
#[derive(Debug)]
struct Stage {
    /// The chord whose end this is. All of it is left out when its claim was lost meanwhile: then others do it.
    chord: Option<(Claim, ChordEnd)>,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Step {
    /// Its place in `stages`.
    stage: usize,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Record(RecordArgs),
    Open(OpenArgs),
    Part(PartArgs, Box<EndedPart>),
}

/// A part that was the last one, as the script told.
#[derive(Debug)]
pub(crate) struct Last {
    /// Its place in the steps.
    pub(crate) step: usize,
    /// How the results nest.
    pub(crate) structure: Value,
    /// What was counted.
    pub(crate) parts: Vec<Value>,
}

impl Following {
    /// What a settlement brought.
    pub(crate) async fn of(core: &Arc<Core>, sequel: FollowUps) -> Result<Self> {
        let mut following = Self::default();
        following.add(core, sequel, None).await?;
        Ok(following)
    }

    /// Whether a chord begins.
    pub(crate) fn opens(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.work, Work::Open(_)))
    }

    /// The parts that are to be counted.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &EndedPart> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Part(_, end) => Some(&**end),
            _ => None,
        })
    }

    /// The keys of their chords.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Part(part, _) => Some(part.claim.key.as_str()),
            _ => None,
        })
    }

    /// Adds its operations, with the messages `routes` before its own. `count` is told of each part, with its place in the steps, and
    /// answers the number that the script names it by. The n-th of `notes` is that of the n-th part.
    pub(crate) fn append<'a>(
        &'a self,
        routes: &'a [Route],
        notes: &'a [Note],
        mut count: impl FnMut(usize) -> usize,
        operations: &mut Vec<Operation<'a>>,
    ) {
        let (mut stage, mut notes) = (0, notes.iter());
        for (place, step) in self.steps.iter().enumerate() {
            self.enter(&mut stage, step.stage, operations);
            match &step.work {
                Work::Record(record) => operations.push(Operation::Record(record)),
                Work::Open(chord) => operations.push(Operation::OpenChord(chord)),
                Work::Part(part, _) => {
                    operations.extend(notes.next().map(Operation::Note));
                    operations.push(Operation::Part(count(place), part));
                }
            }
        }
        self.enter(&mut stage, 0, operations);
        operations.extend(routes.iter().map(Operation::Route));
        for (place, of) in self.stages.iter().enumerate() {
            self.enter(&mut stage, place, operations);
            operations.extend(of.routes.iter().map(Operation::Route));
            operations.extend(of.chord.as_ref().map(|(claim, end)| Operation::EndChord(claim, *end)));
        }
        self.enter(&mut stage, 0, operations);
    }

    /// What follows belongs to another stage.
    fn enter<'a>(&'a self, stage: &mut usize, to: usize, operations: &mut Vec<Operation<'a>>) {
        if *stage != to {
            *stage = to;
            operations.push(Operation::Hold(self.stages[to].chord.as_ref().map(|(claim, _)| claim)));
        }
    }

    /// All of it is done but for what follows these parts: each with its place among the parts, and alone.
    pub(crate) fn taken_apart(self, last: Vec<Last>) -> Vec<(usize, Self, Last)> {
        let parts = self.steps.into_iter().enumerate().filter(|(_, step)| matches!(step.work, Work::Part(..)));
        let mut last = last.into_iter().peekable();
        let alone = parts.enumerate().filter_map(|(place, (at, step))| {
            let last = last.next_if(|last| last.step == at)?;
            let stages = vec![Stage { chord: None, routes: Vec::new() }];
            Some((place, Self { steps: [Step { stage: 0, ..step }].into(), stages }, Last { step: 0, ..last }))
        });
        alone.collect()
    }

    /// A part was the last one: all before it is done, and what follows of it is put behind the rest.
    pub(crate) async fn complete(&mut self, core: &Arc<Core>, last: Last) -> Result<()> {
        let Some(Step { work: Work::Part(args, end), .. }) = self.steps.drain(..=last.step).next_back() else {
            return Ok(());
        };
        let claim = args.claim;
        let keys = core.needed_result_keys()?;
        let read = read_parts(&core.link, &keys, &claim.key, last.structure, last.parts.into_iter()).await;
        let (what, error) = match read {
            Ok(progress) => {
                let followed = match end.follow_ups_of(progress) {
                    Ok(rest) => self.follow(core, &claim, rest).await,
                    Err(error) => Err(error),
                };
                match followed {
                    Ok(()) => return Ok(()),
                    Err(error) => ("Callback error", error),
                }
            }
            Err(error) => ("Join error", error),
        };
        if error.is_retryable() {
            return Err(error);
        }
        // A body that cannot be made or sent is failed, as with Celery, or nobody would ever hear of it.
        self.follow(core, &claim, end.fail_chord(what, &error)?).await
    }

    /// Puts what follows a chord behind what is there.
    async fn follow(&mut self, core: &Arc<Core>, claim: &Claim, rest: Option<(FollowUps, ChordEnd)>) -> Result<()> {
        match rest {
            Some((sequel, end)) => self.add(core, sequel, Some((claim.clone(), end))).await,
            None => Ok(()),
        }
    }

    /// Puts something behind what is there, or changes nothing.
    async fn add(&mut self, core: &Arc<Core>, sequel: FollowUps, chord: Option<(Claim, ChordEnd)>) -> Result<()> {
        let FollowUps { records, opens, parts, publish } = sequel;
        let stage = self.stages.len();
        let mut work = Vec::with_capacity(records.len() + opens.len() + parts.len());
        if work.capacity() > 0 {
            let keys = core.needed_result_keys()?;
            work.extend(records.into_iter().map(|record| Work::Record(RecordArgs::new(&keys, record))));
            work.extend(opens.iter().map(|header| Work::Open(OpenArgs::new(&keys, header))));
            let ordered = core.chord_ordered();
            for end in parts {
                work.push(Work::Part(PartArgs::new(&keys, ordered, &end.part)?, Box::new(end)));
            }
        }
        let routes = match publish.is_empty() {
            true => Vec::new(),
            false => core.route(publish).await?,
        };
        self.steps.extend(work.into_iter().map(|work| Step { stage, work }));
        self.stages.push(Stage { chord, routes });
        Ok(())
    }
}
