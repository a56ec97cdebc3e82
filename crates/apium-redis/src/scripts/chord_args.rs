//! The arguments of the scripts for chords. `lua/chord.lua` says what becomes of them.

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::chord::{ChordEnd, ChordHeader, ChordPart};
use apium_transport::error::{Error, ErrorKind, Result};
use redis::Cmd;

use crate::keys::result_keys::ResultKeys;
use crate::scripts::result_args::ttl_ms;

/// For how many seconds a chord whose body was sent is remembered, for parts that run twice (as long as in Celery).
const DONE_SECONDS: &str = "300";

/// The arguments that open a chord.
#[derive(Debug)]
pub(crate) struct OpenArgs {
    pub(crate) key: String,
    size: u64,
    structure: Vec<u8>,
    ttl_ms: String,
}

impl OpenArgs {
    pub(crate) fn new(keys: &ResultKeys, header: &ChordHeader) -> Self {
        Self {
            key: keys.group(&header.group),
            size: header.size,
            structure: header.structure.as_ref().map(|structure| structure.to_json()).unwrap_or_default(),
            ttl_ms: text_of(header.ttl),
        }
    }

    /// Adds the arguments, always `OPEN_ARGS` of `lua/chord.lua`.
    pub(crate) fn append_to(&self, command: &mut Cmd) {
        command.arg(&self.key).arg(self.size).arg(self.structure.as_slice()).arg(&self.ttl_ms);
    }
}

/// The arguments that count a part.
#[derive(Debug)]
pub(crate) struct PartArgs {
    pub(crate) claim: Claim,
    task_id: TaskId,
    /// The part as Celery writes it.
    part: Vec<u8>,
    ordered: bool,
    group_index: String,
    ttl_ms: String,
}

impl PartArgs {
    pub(crate) fn new(keys: &ResultKeys, ordered: bool, part: &ChordPart) -> Result<Self> {
        Ok(Self {
            claim: Claim {
                key: keys.group(&part.group),
                claimant: part.claimant.clone(),
                duration_ms: ttl_ms(Some(part.claim)).unwrap_or(1),
            },
            task_id: part.task_id.clone(),
            part: encode(part)?,
            ordered,
            group_index: part.group_index.map_or_else(|| "+inf".to_owned(), |index| index.to_string()),
            ttl_ms: text_of(part.ttl),
        })
    }

    /// Adds the arguments, always `PART_ARGS` of `lua/chord.lua`.
    pub(crate) fn append_to(&self, command: &mut Cmd) {
        command.arg(&self.claim.key).arg(self.task_id.as_str()).arg(self.part.as_slice()).arg(u8::from(self.ordered));
        command.arg(&self.group_index).arg(&self.ttl_ms).arg(self.claim.duration_ms).arg(&self.claim.claimant);
    }
}

/// A claim on the body of a chord: only who has it may send the body.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) key: String,
    pub(crate) claimant: String,
    duration_ms: u64,
}

impl Claim {
    /// Adds the arguments, always `HOLD_ARGS` of `lua/chord.lua`.
    pub(crate) fn append_to(&self, command: &mut Cmd) {
        command.arg(&self.key).arg(&self.claimant).arg(self.duration_ms);
    }
}

/// Adds the arguments of the end of a chord, always `END_ARGS` of `lua/chord.lua`.
pub(crate) fn append_end(key: &str, claimant: &str, end: ChordEnd, command: &mut Cmd) {
    let remembered = match end {
        ChordEnd::Fired => DONE_SECONDS,
        ChordEnd::Failed => "",
    };
    command.arg(key).arg(claimant).arg(remembered);
}

/// Adds the arguments that add a part to a chord.
pub(crate) fn append_growth(key: &str, added: &TaskId, ttl: Option<std::time::Duration>, command: &mut Cmd) {
    command.arg(key).arg(added.as_str()).arg(text_of(ttl));
}

/// A time to live in milliseconds; an empty text is for ever.
fn text_of(ttl: Option<std::time::Duration>) -> String {
    ttl_ms(ttl).map(|ttl| ttl.to_string()).unwrap_or_default()
}

/// A part as Celery writes it: `[1, task id, state, result]`.
fn encode(part: &ChordPart) -> Result<Vec<u8>> {
    let text = |text: &str| {
        Json::from_serialize(text).map_err(|error| {
            Error::new(ErrorKind::Other, format!("write the part {} of a chord", part.task_id)).with_source(error)
        })
    };
    let (id, state) = (text(part.task_id.as_str())?, text(part.state.as_str())?);
    let parts = [&b"[1, "[..], id.as_bytes(), b", ", state.as_bytes(), b", ", part.result.as_bytes(), b"]"];
    Ok(parts.concat())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::result::document::{GroupDocument, ResultTuple};
    use apium_protocol::result::state::State;

    use super::*;

    #[test]
    fn everything_has_as_many_arguments_as_the_scripts_read() {
        let keys = ResultKeys::new("p_");
        let count = |fill: &dyn Fn(&mut Cmd)| {
            let mut command = redis::cmd("X");
            fill(&mut command);
            command.args_iter().count() - 1
        };
        let mut counts = Vec::new();
        for ttl in [None, Some(Duration::from_secs(1))] {
            let structure = ttl.map(|_| GroupDocument::new(ResultTuple::group("g", Vec::new())));
            let mut header = ChordHeader::new("g".to_owned(), 1);
            header.structure = structure;
            header.ttl = ttl;
            let mut part =
                ChordPart::new("g".to_owned(), "t".into(), State::Success, Json::NULL, "w".to_owned(), Duration::ZERO);
            part.group_index = ttl.map(|_| 7);
            part.ttl = ttl;
            let (open, part) = (OpenArgs::new(&keys, &header), PartArgs::new(&keys, true, &part).unwrap());
            let end = if ttl.is_some() { ChordEnd::Fired } else { ChordEnd::Failed };
            counts.push([
                count(&|command| open.append_to(command)),
                count(&|command| part.append_to(command)),
                count(&|command| part.claim.append_to(command)),
                count(&|command| append_end("k", "w", end, command)),
            ]);
        }
        assert_eq!(counts[0], counts[1]);
        let [open, part, hold, end] = counts[0];
        let line = format!("\nlocal OPEN_ARGS, PART_ARGS, HOLD_ARGS, END_ARGS = {open}, {part}, {hold}, {end}\n");
        assert!(include_str!("lua/chord.lua").contains(&line), "{line}");
    }
}
