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
use crate::scripts::route::PublishTarget;
use crate::settle::recount_message::RecountMessage;
use crate::shared::BrokerShared;

/// What is left of a workflow to be done with one delivery.
#[derive(Debug, Default)]
pub(crate) struct PreparedFollowUps {
    /// What comes before messages.
    steps: VecDeque<FollowUpStep>,
    /// The first is what the settlement brought, each other one what a chord makes whose parts have all come.
    stages: Vec<FollowUpStage>,
}

/// Messages, and what they belong to.
#[derive(Debug)]
struct FollowUpStage {
    /// The chord whose end this is. All of it is left out when its claim was lost meanwhile: then others do it.
    chord: Option<(Claim, ChordEnd)>,
    targets: Vec<PublishTarget>,
}

#[derive(Debug)]
struct FollowUpStep {
    /// Its place in `stages`.
    stage: usize,
    work: FollowUpWork,
}

#[derive(Debug)]
enum FollowUpWork {
    Record(RecordArgs),
    Open(OpenArgs),
    Part(PartArgs, Box<EndedPart>),
}

/// A part that was the last one, as the script told.
#[derive(Debug)]
pub(crate) struct LastPart {
    /// Its place in the steps.
    pub(crate) step: usize,
    /// How the results nest.
    pub(crate) structure: Value,
    /// What was counted.
    pub(crate) parts: Vec<Value>,
}

impl PreparedFollowUps {
    /// What a settlement brought.
    pub(crate) async fn prepare(core: &Arc<BrokerShared>, sequel: FollowUps) -> Result<Self> {
        let mut following = Self::default();
        following.add(core, sequel, None).await?;
        Ok(following)
    }

    /// Whether a chord begins.
    pub(crate) fn opens_chord(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.work, FollowUpWork::Open(_)))
    }

    /// The parts that are to be counted.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &EndedPart> {
        self.steps.iter().filter_map(|step| match &step.work {
            FollowUpWork::Part(_, end) => Some(&**end),
            _ => None,
        })
    }

    /// The keys of their chords.
    pub(crate) fn chord_keys(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.work {
            FollowUpWork::Part(part, _) => Some(part.claim.key.as_str()),
            _ => None,
        })
    }

    /// Adds its operations, with the messages `routes` before its own. `count` is told of each part, with its place in the steps, and
    /// answers the number that the script names it by. The n-th of `notes` is that of the n-th part.
    pub(crate) fn append<'a>(
        &'a self,
        routes: &'a [PublishTarget],
        notes: &'a [RecountMessage],
        mut count: impl FnMut(usize) -> usize,
        operations: &mut Vec<Operation<'a>>,
    ) {
        let (mut stage, mut notes) = (0, notes.iter());
        for (place, step) in self.steps.iter().enumerate() {
            self.switch_stage(&mut stage, step.stage, operations);
            match &step.work {
                FollowUpWork::Record(record) => operations.push(Operation::Record(record)),
                FollowUpWork::Open(chord) => operations.push(Operation::OpenChord(chord)),
                FollowUpWork::Part(part, _) => {
                    operations.extend(notes.next().map(Operation::Recount));
                    operations.push(Operation::Part(count(place), part));
                }
            }
        }
        self.switch_stage(&mut stage, 0, operations);
        operations.extend(routes.iter().map(Operation::Publish));
        for (place, of) in self.stages.iter().enumerate() {
            self.switch_stage(&mut stage, place, operations);
            operations.extend(of.targets.iter().map(Operation::Publish));
            operations.extend(of.chord.as_ref().map(|(claim, end)| Operation::EndChord(claim, *end)));
        }
        self.switch_stage(&mut stage, 0, operations);
    }

    /// What follows belongs to another stage.
    fn switch_stage<'a>(&'a self, stage: &mut usize, to: usize, operations: &mut Vec<Operation<'a>>) {
        if *stage != to {
            *stage = to;
            operations.push(Operation::RequireClaim(self.stages[to].chord.as_ref().map(|(claim, _)| claim)));
        }
    }

    /// All of it is done but for what follows these parts: each with its place among the parts, and alone.
    pub(crate) fn into_parts(self, last: Vec<LastPart>) -> Vec<(usize, Self, LastPart)> {
        let parts = self.steps.into_iter().enumerate().filter(|(_, step)| matches!(step.work, FollowUpWork::Part(..)));
        let mut last = last.into_iter().peekable();
        let alone = parts.enumerate().filter_map(|(place, (at, step))| {
            let last = last.next_if(|last| last.step == at)?;
            let stages = vec![FollowUpStage { chord: None, targets: Vec::new() }];
            Some((
                place,
                Self { steps: [FollowUpStep { stage: 0, ..step }].into(), stages },
                LastPart { step: 0, ..last },
            ))
        });
        alone.collect()
    }

    /// A part was the last one: all before it is done, and what follows of it is put behind the rest.
    pub(crate) async fn complete(&mut self, core: &Arc<BrokerShared>, last: LastPart) -> Result<()> {
        let Some(FollowUpStep { work: FollowUpWork::Part(args, end), .. }) = self.steps.drain(..=last.step).next_back()
        else {
            return Ok(());
        };
        let claim = args.claim;
        let keys = core.needed_result_keys()?;
        let read = read_parts(&core.connection, &keys, &claim.key, last.structure, last.parts.into_iter()).await;
        let (what, error) = match read {
            Ok(progress) => {
                let followed = match end.follow_ups_of(progress) {
                    Ok(rest) => self.add_after_chord(core, &claim, rest).await,
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
        self.add_after_chord(core, &claim, end.fail_chord(what, &error)?).await
    }

    /// Puts what follows a chord behind what is there.
    async fn add_after_chord(
        &mut self,
        core: &Arc<BrokerShared>,
        claim: &Claim,
        rest: Option<(FollowUps, ChordEnd)>,
    ) -> Result<()> {
        match rest {
            Some((sequel, end)) => self.add(core, sequel, Some((claim.clone(), end))).await,
            None => Ok(()),
        }
    }

    /// Puts something behind what is there, or changes nothing.
    async fn add(
        &mut self,
        core: &Arc<BrokerShared>,
        sequel: FollowUps,
        chord: Option<(Claim, ChordEnd)>,
    ) -> Result<()> {
        let FollowUps { records, opens, parts, publish, .. } = sequel;
        let stage = self.stages.len();
        let mut work = Vec::with_capacity(records.len() + opens.len() + parts.len());
        if work.capacity() > 0 {
            let keys = core.needed_result_keys()?;
            work.extend(records.into_iter().map(|record| FollowUpWork::Record(RecordArgs::new(&keys, record))));
            work.extend(opens.iter().map(|header| FollowUpWork::Open(OpenArgs::new(&keys, header))));
            let ordered = core.chord_ordered();
            for end in parts {
                work.push(FollowUpWork::Part(PartArgs::new(&keys, ordered, &end.part)?, Box::new(end)));
            }
        }
        let routes = match publish.is_empty() {
            true => Vec::new(),
            false => core.bound_targets(publish).await?,
        };
        self.steps.extend(work.into_iter().map(|work| FollowUpStep { stage, work }));
        self.stages.push(FollowUpStage { chord, targets: routes });
        Ok(())
    }
}
