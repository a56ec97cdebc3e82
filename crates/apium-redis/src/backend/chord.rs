//! Counting the parts of chords on Celery's keys, so that workers of both count together.

use std::collections::HashMap;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{ResultDocument, ResultTuple};
use apium_protocol::result::state::State;
use apium_transport::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress};
use apium_transport::backend::chord_results::{CountedPart, listed, nested};
use apium_transport::error::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use crate::backend::document;
use crate::backend::result_store::ResultStore;
use crate::backend::results;
use crate::connection::commands::CommandConnection;
use crate::crash_points::reached;
use crate::errors::unexpected_reply;
use crate::keys::result_keys::ResultKeys;
use crate::scripts::chord_args::{OpenArgs, PartArgs, append_end, append_growth};
use crate::scripts::script::{CHORD_END, CHORD_GROW, CHORD_OPEN, CHORD_PART};

/// Opens a chord.
pub(crate) async fn open(store: &ResultStore, header: ChordHeader) -> Result<()> {
    let args = OpenArgs::new(&store.keys, &header);
    let fill = |command: &mut Cmd| {
        command.arg(1).arg(&args.key);
        args.append_to(command);
    };
    store.connection.script("open the chord", &CHORD_OPEN, fill).await?;
    reached("chord-opened");
    Ok(())
}

/// Counts a part. With `unless_last` it does not count one that may be the last, and returns `None`.
pub(crate) async fn part_done(
    store: &ResultStore,
    part: ChordPart,
    unless_last: bool,
) -> Result<Option<ChordProgress>> {
    let what = "count the part of the chord";
    let args = PartArgs::new(&store.keys, store.chord_ordered, &part)?;
    let fill = |command: &mut Cmd| {
        command.arg(1).arg(&args.claim.key);
        args.append_to(command);
        if unless_last {
            command.arg("unless-last");
        }
    };
    let Value::Array(answer) = store.connection.script(what, &CHORD_PART, fill).await? else {
        return Err(unexpected_reply(what));
    };
    let mut answer = answer.into_iter();
    match (answer.next(), answer.next()) {
        (Some(Value::BulkString(word)), None) if word == b"last" => Ok(None),
        (Some(Value::BulkString(word)), None) if word == b"fired" => Ok(Some(ChordProgress::Fired)),
        (Some(Value::BulkString(word)), None) if word == b"waiting" => Ok(Some(ChordProgress::Waiting)),
        (Some(Value::BulkString(word)), Some(structure)) if word == b"complete" => {
            read_parts(&store.connection, &store.keys, &args.claim.key, structure, answer).await.map(Some)
        }
        _ => Err(unexpected_reply(what)),
    }
}

/// Lets a chord wait for one more part, once.
pub(crate) async fn grow(store: &ResultStore, group: &str, added: &TaskId, ttl: Option<Duration>) -> Result<()> {
    let key = store.keys.group(group);
    let fill = |command: &mut Cmd| {
        command.arg(1).arg(&key);
        append_growth(&key, added, ttl, command);
    };
    store.connection.script("let the chord grow", &CHORD_GROW, fill).await.map(drop)
}

/// How many parts of a chord are counted, of how many.
pub(crate) async fn count(store: &ResultStore, group: &str) -> Result<Option<ChordCount>> {
    let what = "ask how far the chord is";
    let keys = &store.keys;
    let mut pipeline = redis::pipe();
    pipeline.cmd(if store.chord_ordered { "ZCARD" } else { "LLEN" }).arg(keys.chord(group, ".j"));
    pipeline.cmd("MGET").arg(keys.chord(group, ".s")).arg(keys.chord(group, ".t"));
    let answers = Value::Array(store.connection.pipeline(what, &pipeline).await?);
    let (done, (size, growth)): (u64, (Option<u64>, Option<u64>)) =
        redis::from_redis_value(answers).map_err(|_| unexpected_reply(what))?;
    Ok(size.map(|size| ChordCount::new(done, size + growth.unwrap_or(0))))
}

/// Ends a chord. Returns false if the claim was lost.
pub(crate) async fn end(store: &ResultStore, group: &str, claimant: &str, end: ChordEnd) -> Result<bool> {
    let key = store.keys.group(group);
    let fill = |command: &mut Cmd| {
        command.arg(1).arg(&key);
        append_end(&key, claimant, end, command);
    };
    let answer = store.connection.script("end the chord", &CHORD_END, fill).await?;
    Ok(answer == Value::Int(1))
}

/// The results of all parts of a chord: as they were counted, or, if the header has a structure, from the stored
/// results.
pub(crate) async fn read_parts(
    connection: &CommandConnection,
    keys: &ResultKeys,
    key: &str,
    structure: Value,
    parts: impl Iterator<Item = Value>,
) -> Result<ChordProgress> {
    match structure {
        Value::BulkString(structure) => {
            let structure = document::group(key, &structure.into())?;
            structured(connection, keys, &structure.result).await
        }
        _ => Ok(listed(parts.map(|part| counted(key, part)).collect::<Result<Vec<_>>>()?)),
    }
}

/// Decodes a part as it was counted.
fn counted(key: &str, part: Value) -> Result<CountedPart> {
    let Value::BulkString(part) = part else { return Err(unexpected_reply("read the parts of the chord")) };
    let read = |json: Json| json.decode::<(Json, String, String, Json)>();
    let read = Json::from_bytes(document::json(key, &part.into())?).and_then(read);
    let (_, id, state, result) = read.map_err(|error| {
        let text = format!("read the value of {key}: it holds what is no part of a chord");
        Error::new(ErrorKind::Corrupt, text).with_source(error)
    })?;
    Ok(CountedPart::new(TaskId::from(id), State::from(state.as_str()), result))
}

/// The stored results of a header that holds groups, nested as the header is.
async fn structured(connection: &CommandConnection, keys: &ResultKeys, header: &ResultTuple) -> Result<ChordProgress> {
    let mut ids = Vec::new();
    leaves(header, &mut ids);
    let found = results::fetch(connection, keys, &ids).await?;
    let mut stored: HashMap<TaskId, Option<ResultDocument>> = ids.into_iter().zip(found).collect();
    nested(header, [], |id| Ok(stored.remove(id).flatten()))
}

fn leaves(tuple: &ResultTuple, ids: &mut Vec<TaskId>) {
    match &tuple.children {
        Some(members) => members.iter().for_each(|member| leaves(member, ids)),
        None => ids.push(tuple.id.clone()),
    }
}
