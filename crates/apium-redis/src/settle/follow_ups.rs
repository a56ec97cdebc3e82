//! The follow-ups of a run, as operations of the script that settles its delivery.
//!
//! For each delivery the script first writes results, opens chords and counts parts, and then publishes messages. If a
//! part is the last one of its chord, the script skips the remaining operations of the delivery, keeps the delivery in
//! flight, and answers with all parts. The continuation of the chord is made from them here and added to what remains,
//! and the delivery is settled once more. Until then nothing is visible but the counts: the messages, the end of the
//! chord and the ack are one atomic step. If this process dies before it, the message is delivered again, its part is
//! found counted already, and the new run continues the chord. A part without a delivery gets one first; see
//! [`recount`].
//!
//! [`recount`]: crate::settle::recount

use std::collections::VecDeque;
use std::sync::Arc;

use apium_transport::backend::chord::ChordEnd;
use apium_transport::broker::follow_ups::{EndedPart, FollowUps};
use apium_transport::error::Result;
use redis::Value;

use crate::backend::chord::read_parts;
use crate::consumer::in_flight::InFlight;
use crate::scripts::chord_args::{Claim, OpenArgs, PartArgs};
use crate::scripts::operation::{Operation, PublishTarget};
use crate::scripts::result_args::RecordArgs;
use crate::shared::BrokerShared;

/// The follow-ups of one delivery that are still to be done.
#[derive(Debug, Default)]
pub(crate) struct PreparedFollowUps {
    /// Results and parts; the script does them before it publishes any message.
    steps: VecDeque<FollowUpStep>,
    /// The first holds the follow-ups of the settlement itself, each other one those of a chord that it completed.
    stages: Vec<FollowUpStage>,
}

/// Follow-ups that belong together: they are all done, or all skipped.
#[derive(Debug)]
struct FollowUpStage {
    /// The chord that they end. They are skipped if its claim was lost meanwhile, since the new claimant does the same.
    chord: Option<(Claim, ChordEnd)>,
    targets: Vec<PublishTarget>,
}

#[derive(Debug)]
struct FollowUpStep {
    /// Its index in `stages`.
    stage: usize,
    work: FollowUpWork,
}

#[derive(Debug)]
enum FollowUpWork {
    Record(RecordArgs),
    Open(OpenArgs),
    Part(PartArgs, Box<EndedPart>),
}

/// A part that was the last one of its chord, as the script answered.
#[derive(Debug)]
pub(crate) struct LastPart {
    /// Its index in the steps.
    pub(crate) step: usize,
    /// How the results of the header nest.
    pub(crate) structure: Value,
    /// All parts that were counted.
    pub(crate) parts: Vec<Value>,
}

/// A message that recounts a part, ready for the script to put it in flight at this consumer. [`recount`] says why.
///
/// [`recount`]: crate::settle::recount
#[derive(Debug)]
pub(crate) struct RecountMessage {
    /// The consumer's id.
    pub(crate) id: Arc<str>,
    pub(crate) number: u64,
    /// Its tag in the server.
    pub(crate) tag: String,
    /// Its entry in `unacked`.
    pub(crate) entry: Vec<u8>,
    pub(crate) in_flight: InFlight,
}

impl PreparedFollowUps {
    /// Prepares the follow-ups of a settlement.
    pub(crate) async fn prepare(shared: &Arc<BrokerShared>, follow_ups: FollowUps) -> Result<Self> {
        let mut prepared = Self::default();
        prepared.add(shared, follow_ups, None).await?;
        Ok(prepared)
    }

    /// Whether they open a chord.
    pub(crate) fn opens_chord(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.work, FollowUpWork::Open(_)))
    }

    /// The parts that they count.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &EndedPart> {
        self.steps.iter().filter_map(|step| match &step.work {
            FollowUpWork::Part(_, ended) => Some(&**ended),
            _ => None,
        })
    }

    /// The keys of the chords of these parts.
    pub(crate) fn chord_keys(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.work {
            FollowUpWork::Part(part, _) => Some(part.claim.key.as_str()),
            _ => None,
        })
    }

    /// Adds the operations of the follow-ups. The messages `targets` come before their own. `count` gets the index of
    /// each part in the steps and returns the number by which the script's reply names the part. `recounts` are those
    /// of the parts, in the same order.
    pub(crate) fn append<'a>(
        &'a self,
        targets: &'a [PublishTarget],
        recounts: &'a [RecountMessage],
        mut count: impl FnMut(usize) -> usize,
        operations: &mut Vec<Operation<'a>>,
    ) {
        let (mut stage, mut recounts) = (0, recounts.iter());
        for (position, step) in self.steps.iter().enumerate() {
            self.switch_stage(&mut stage, step.stage, operations);
            match &step.work {
                FollowUpWork::Record(record) => operations.push(Operation::Record(record)),
                FollowUpWork::Open(chord) => operations.push(Operation::OpenChord(chord)),
                FollowUpWork::Part(part, _) => {
                    let recount = recounts.next();
                    operations
                        .extend(recount.map(|message| Operation::Recount { tag: &message.tag, entry: &message.entry }));
                    operations.push(Operation::Part(count(position), part));
                }
            }
        }
        self.switch_stage(&mut stage, 0, operations);
        operations.extend(targets.iter().map(Operation::Publish));
        for (position, of) in self.stages.iter().enumerate() {
            self.switch_stage(&mut stage, position, operations);
            operations.extend(of.targets.iter().map(Operation::Publish));
            operations.extend(of.chord.as_ref().map(|(claim, end)| Operation::EndChord(claim, *end)));
        }
        self.switch_stage(&mut stage, 0, operations);
    }

    /// The operations after this belong to stage `to`.
    fn switch_stage<'a>(&'a self, stage: &mut usize, to: usize, operations: &mut Vec<Operation<'a>>) {
        if *stage != to {
            *stage = to;
            operations.push(Operation::RequireClaim(self.stages[to].chord.as_ref().map(|(claim, _)| claim)));
        }
    }

    /// Splits off the parts that were the last ones of their chords, when all the rest is done: the position of each
    /// among all parts, and follow-ups that hold it alone.
    pub(crate) fn into_parts(self, last: Vec<LastPart>) -> Vec<(usize, Self, LastPart)> {
        let parts = self.steps.into_iter().enumerate().filter(|(_, step)| matches!(step.work, FollowUpWork::Part(..)));
        let mut last = last.into_iter().peekable();
        let alone = parts.enumerate().filter_map(|(position, (at, step))| {
            let last = last.next_if(|last| last.step == at)?;
            let stages = vec![FollowUpStage { chord: None, targets: Vec::new() }];
            Some((
                position,
                Self { steps: [FollowUpStep { stage: 0, ..step }].into(), stages },
                LastPart { step: 0, ..last },
            ))
        });
        alone.collect()
    }

    /// Drops the steps up to the last part of a chord, which are done, and adds the continuation of that chord.
    pub(crate) async fn complete(&mut self, shared: &Arc<BrokerShared>, last: LastPart) -> Result<()> {
        let step = self.steps.drain(..=last.step).next_back();
        let Some(FollowUpStep { work: FollowUpWork::Part(args, ended), .. }) = step else {
            return Ok(());
        };
        let claim = args.claim;
        let keys = shared.needed_result_keys()?;
        let read = read_parts(&shared.connection, &keys, &claim.key, last.structure, last.parts.into_iter()).await;
        let (what, error) = match read {
            Ok(progress) => {
                let followed = match ended.follow_ups_of(progress) {
                    Ok(continuation) => self.add_after_chord(shared, &claim, continuation).await,
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
        // As in Celery, a body that cannot be built or sent is stored as failed. Otherwise its callers would wait for
        // ever.
        self.add_after_chord(shared, &claim, ended.fail_chord(what, &error)?).await
    }

    /// Adds the continuation of a chord.
    async fn add_after_chord(
        &mut self,
        shared: &Arc<BrokerShared>,
        claim: &Claim,
        continuation: Option<(FollowUps, ChordEnd)>,
    ) -> Result<()> {
        match continuation {
            Some((follow_ups, end)) => self.add(shared, follow_ups, Some((claim.clone(), end))).await,
            None => Ok(()),
        }
    }

    /// Adds follow-ups as a new stage. On an error nothing has changed.
    async fn add(
        &mut self,
        shared: &Arc<BrokerShared>,
        follow_ups: FollowUps,
        chord: Option<(Claim, ChordEnd)>,
    ) -> Result<()> {
        let FollowUps { records, opens, parts, publish, .. } = follow_ups;
        let stage = self.stages.len();
        let mut work = Vec::with_capacity(records.len() + opens.len() + parts.len());
        if work.capacity() > 0 {
            let keys = shared.needed_result_keys()?;
            work.extend(records.into_iter().map(|record| FollowUpWork::Record(RecordArgs::new(&keys, record))));
            work.extend(opens.iter().map(|header| FollowUpWork::Open(OpenArgs::new(&keys, header))));
            let ordered = shared.chord_ordered();
            for ended in parts {
                work.push(FollowUpWork::Part(PartArgs::new(&keys, ordered, &ended.part)?, Box::new(ended)));
            }
        }
        let targets = match publish.is_empty() {
            true => Vec::new(),
            false => shared.bound_targets(publish).await?,
        };
        self.steps.extend(work.into_iter().map(|work| FollowUpStep { stage, work }));
        self.stages.push(FollowUpStage { chord, targets });
        Ok(())
    }
}
