//! Counting the parts of chords on Celery's keys, so that workers of both count together.

use std::collections::HashMap;

use apium_protocol::id::TaskId;
use apium_protocol::json::Json;
use apium_protocol::record::{ResultDocument, ResultTuple};
use apium_protocol::state::State;
use apium_transport::chord::{ChordEnd, ChordHeader, ChordPart, ChordProgress, FailedPart};
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use redis::Value;

use crate::document;
use crate::errors::odd_answer;
use crate::opened::OpenedResults;
use crate::record::ttl_ms;
use crate::results;
use crate::script::{CHORD_END, CHORD_PART};

/// For how many seconds copies of parts are told that the body was sent (Celery's).
const DONE: u64 = 300;

/// Begins to count.
pub(crate) async fn open(opened: &OpenedResults, header: ChordHeader) -> Result<()> {
    let (keys, group) = (&opened.keys, &header.group);
    let set = |key: String, value: &[u8]| {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value);
        if let Some(ttl) = ttl_ms(header.ttl) {
            command.arg("PX").arg(ttl);
        }
        command
    };
    let mut pipeline = redis::pipe();
    pipeline.atomic().cmd("DEL").arg(keys.chord(group, ".c"));
    if let Some(structure) = &header.structure {
        pipeline.add_command(set(keys.group(group), &structure.to_json()));
    }
    pipeline.add_command(set(keys.chord(group, ".s"), header.size.to_string().as_bytes()));
    opened.link.pipeline("open the chord", &pipeline).await.map(drop)
}

/// Counts a part.
pub(crate) async fn part_done(opened: &OpenedResults, part: ChordPart) -> Result<ChordProgress> {
    let what = "count the part of the chord";
    let (keys, group) = (&opened.keys, &part.group);
    let encoded = encode(&part)?;
    let place = part.group_index.map_or_else(|| "+inf".to_owned(), |place| place.to_string());
    let names = [".j", ".t", ".s", ".d", ".c", ""].map(|suffix| keys.chord(group, suffix));
    let ttl = ttl_ms(part.ttl).map(|ttl| ttl.to_string()).unwrap_or_default();
    let claim = ttl_ms(Some(part.claim)).unwrap_or(1);
    let fill = |command: &mut redis::Cmd| {
        command.arg(names.len()).arg(&names);
        command.arg(part.task_id.as_str()).arg(&encoded[..]).arg(u8::from(opened.chord_ordered)).arg(&place);
        command.arg(&ttl).arg(claim).arg(&part.claimant);
    };
    let Value::Array(answer) = opened.link.script(what, &CHORD_PART, fill).await? else {
        return Err(odd_answer(what));
    };
    let mut answer = answer.into_iter();
    match answer.next() {
        Some(Value::BulkString(word)) if word == b"fired" => Ok(ChordProgress::Fired),
        Some(Value::BulkString(word)) if word == b"waiting" => Ok(ChordProgress::Waiting),
        Some(Value::BulkString(word)) if word == b"complete" => match answer.next() {
            Some(Value::BulkString(structure)) => {
                let structure = document::group(&keys.group(group), &structure.into())?;
                structured(opened, &structure.result).await
            }
            _ => listed(&names[0], answer),
        },
        _ => Err(odd_answer(what)),
    }
}

/// Ends a chord.
pub(crate) async fn discard(opened: &OpenedResults, group: &str, claimant: &str, end: ChordEnd) -> Result<bool> {
    let names = [".c", ".j", ".t", ".s", ".d"].map(|suffix| opened.keys.chord(group, suffix));
    let done = match end {
        ChordEnd::Fired => DONE.to_string(),
        ChordEnd::Failed => String::new(),
    };
    let fill = |command: &mut redis::Cmd| {
        command.arg(names.len()).arg(&names).arg(claimant).arg(&done);
    };
    let answer = opened.link.script("end the chord", &CHORD_END, fill).await?;
    Ok(answer == Value::Int(1))
}

/// `[1, task id, state, result]`.
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

/// The results of parts in their order.
fn listed(key: &str, parts: impl Iterator<Item = Value>) -> Result<ChordProgress> {
    let mut results = Vec::new();
    for part in parts {
        let Value::BulkString(part) = part else { return Err(odd_answer("read the parts of the chord")) };
        let (task_id, state, result) = decode(key, part.into())?;
        if state.propagates() {
            return Ok(ChordProgress::Failed(FailedPart { task_id, state, exception: result }));
        }
        results.push(result);
    }
    Ok(ChordProgress::Complete(results))
}

fn decode(key: &str, part: Bytes) -> Result<(TaskId, State, Json)> {
    let read = |json: Json| json.decode::<(Json, String, String, Json)>();
    let read = Json::from_bytes(document::json(key, &part)?).and_then(read);
    let (_, id, state, result) = read.map_err(|error| {
        let text = format!("read the value of {key}: it holds what is no part of a chord");
        Error::new(ErrorKind::Corrupt, text).with_source(error)
    })?;
    Ok((TaskId::from(id), State::from(state.as_str()), result))
}

/// The stored results of a header that holds groups, nested as it is.
async fn structured(opened: &OpenedResults, header: &ResultTuple) -> Result<ChordProgress> {
    let mut ids = Vec::new();
    leaves(header, &mut ids);
    let found = results::fetch(&opened.link, &opened.keys, &ids).await?;
    let mut documents: HashMap<TaskId, ResultDocument> = HashMap::new();
    for (task_id, document) in ids.into_iter().zip(found) {
        match document {
            Some(document) if !document.state.propagates() => _ = documents.insert(task_id, document),
            Some(document) => {
                let (state, exception) = (document.state, document.result);
                return Ok(ChordProgress::Failed(FailedPart { task_id, state, exception }));
            }
            None => {
                let part = FailedPart { task_id, state: State::Pending, exception: Json::NULL };
                return Ok(ChordProgress::Failed(part));
            }
        }
    }
    let members = header.children.iter().flatten();
    let results = members.map(|member| {
        let mut out = Vec::new();
        write(member, &documents, &mut out);
        Json::from_bytes(out.into()).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("read the results of the chord {}", header.id)).with_source(error)
        })
    });
    results.collect::<Result<_>>().map(ChordProgress::Complete)
}

fn leaves(tuple: &ResultTuple, ids: &mut Vec<TaskId>) {
    match &tuple.children {
        Some(members) => members.iter().for_each(|member| leaves(member, ids)),
        None => ids.push(tuple.id.clone()),
    }
}

/// A result, or the list of a group's.
fn write(tuple: &ResultTuple, documents: &HashMap<TaskId, ResultDocument>, out: &mut Vec<u8>) {
    let Some(members) = &tuple.children else {
        let result = documents.get(&tuple.id).map_or(&b"null"[..], |document| document.result.as_bytes());
        return out.extend_from_slice(result);
    };
    out.push(b'[');
    for (place, member) in members.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        write(member, documents, out);
    }
    out.push(b']');
}
