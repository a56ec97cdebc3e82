//! The decoded body of a task message: arguments and links.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::json::lenient;
use crate::json::map_writer::{MapWriter, key, write_entries, write_jsons, write_list, write_text};
use crate::json::reader::{JsonReader, utf8};
use crate::json::text::{Json, serde_by_json};
use crate::message::signature::Signature;
use crate::message::steps_behind::StepsBehind;

/// The decoded body of a task message.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Body {
    /// Positional arguments.
    pub args: Vec<Json>,
    /// Keyword arguments in their order.
    pub kwargs: Vec<(String, Json)>,
    /// The links of the task.
    pub embed: Embed,
}

/// The links of a task, Celery's `embed` map: what runs after it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Embed {
    /// The callbacks (`link`): sent on success, with the return value as first argument.
    pub callbacks: Option<Vec<Signature>>,
    /// The errbacks (`link_error`): run on failure.
    pub errbacks: Option<Vec<Signature>>,
    /// The remaining steps of the chain, reversed: the next step is the last element.
    pub chain: Option<StepsBehind>,
    /// The body of the chord whose header contains the task.
    pub chord: Option<Arc<Signature>>,
    /// Unknown keys, passed on as they are.
    pub extra: BTreeMap<String, Json>,
}

impl Embed {
    /// Whether anything runs after the task.
    pub fn has_links(&self) -> bool {
        let filled = |list: &Option<Vec<Signature>>| list.as_ref().is_some_and(|l| !l.is_empty());
        let has_steps = self.chain.as_ref().is_some_and(|chain| !chain.is_empty());
        filled(&self.callbacks) || filled(&self.errbacks) || has_steps || self.chord.is_some()
    }
}

impl Body {
    /// A body with these arguments and without links.
    pub fn new(args: Vec<Json>, kwargs: Vec<(String, Json)>) -> Self {
        Self { args, kwargs, embed: Embed::default() }
    }

    /// The body of protocol 2 as JSON: `[args, kwargs, embed]`.
    pub fn to_json(&self) -> Vec<u8> {
        let args: usize = self.args.iter().map(|json| json.as_bytes().len() + 2).sum();
        let kwargs: usize = self.kwargs.iter().map(|(key, json)| key.len() + json.as_bytes().len() + 6).sum();
        let chain = self.embed.chain.as_ref().map_or(0, StepsBehind::size);
        let mut out = Vec::with_capacity(args + kwargs + chain + 88);
        out.push(b'[');
        write_jsons(&mut out, &self.args);
        out.extend_from_slice(b", ");
        write_entries(&mut out, self.kwargs.iter().map(|(key, value)| (key, value)));
        out.extend_from_slice(b", ");
        self.embed.write(&mut out);
        out.push(b']');
        out
    }

    /// Reads `[args, kwargs, embed]`. The arguments are slices of the same bytes. As in Celery's workers, null means no
    /// arguments, and so does an empty list of keyword arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the bytes are not JSON, [`ErrorKind::NotATask`] if they are not such a list of three.
    pub fn from_json(bytes: &Bytes) -> Result<Self> {
        // Bytes that are not JSON fail with `Decode`, and JSON that is not a task with `NotATask`.
        let mut reader = JsonReader::of(bytes)?;
        Self::read(&mut reader).or_else(|e| {
            Json::from_bytes(bytes.clone())?;
            Err(e.within(ErrorKind::NotATask, "the body as `[args, kwargs, embed]`"))
        })
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut body = Self::default();
        let mut index = 0;
        reader.array(|reader| {
            let (name, read) = match index {
                0 => ("args", lenient::jsons(reader).map(|args| body.args = args)),
                1 => ("kwargs", lenient::entries(reader).map(|kwargs| body.kwargs = kwargs)),
                2 => ("embed", Embed::read(reader).map(|embed| body.embed = embed)),
                _ => return reader.fail("the list has more than three elements"),
            };
            index += 1;
            read.map_err(|e| e.within(ErrorKind::NotATask, &format!("`{name}`")))
        })?;
        if index < 3 {
            return Err(Error::new(ErrorKind::NotATask, format!("find three elements in the list, it has {index}")));
        }
        reader.end()?;
        Ok(body)
    }
}

impl Embed {
    /// The links as Celery's JSON map.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        self.write(&mut out);
        out
    }

    /// Reads Celery's JSON map, or null. A signature instead of a list is a list of one. Unknown keys go to `extra`.
    ///
    /// # Errors
    /// If the bytes are neither a JSON map nor null, or if a signature cannot be read.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let mut reader = JsonReader::new(utf8(bytes)?);
        let embed = Self::read(&mut reader)?;
        reader.end()?;
        Ok(embed)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::new(out, &self.extra);
        for (key, list) in [(key!("callbacks"), &self.callbacks), (key!("errbacks"), &self.errbacks)] {
            map.with(key, |out| match list {
                Some(list) => write_list(out, list, |out, signature| signature.write(out)),
                None => write_text(out, None),
            });
        }
        map.with(key!("chain"), |out| match &self.chain {
            Some(steps) => steps.write(out),
            None => write_text(out, None),
        });
        map.with(key!("chord"), |out| match &self.chord {
            Some(signature) => signature.write(out),
            None => write_text(out, None),
        });
        map.extra();
        map.end();
    }

    fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut embed = Self::default();
        if reader.null() {
            return Ok(embed);
        }
        reader.object(|key, reader| embed.read_field(&key, reader))?;
        Ok(embed)
    }

    /// Reads the value of one key.
    pub(crate) fn read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<()> {
        match key {
            "callbacks" => self.callbacks = signatures(reader)?,
            "errbacks" => self.errbacks = signatures(reader)?,
            "chain" => self.chain = if reader.null() { None } else { Some(StepsBehind::read(reader)?) },
            "chord" => self.chord = if reader.null() { None } else { Some(Arc::new(Signature::read(reader)?)) },
            _ => {
                self.extra.insert(key.to_owned(), reader.json()?);
            }
        }
        Ok(())
    }
}

fn signatures(reader: &mut JsonReader<'_>) -> Result<Option<Vec<Signature>>> {
    match reader.peek() {
        b'{' => Ok(Some(vec![Signature::read(reader)?])),
        _ => lenient::list(reader, Signature::read),
    }
}

serde_by_json! { Embed }
