//! The steps of a chain behind a task. Whoever sends the next one reads that one alone: the others travel as the text
//! that they came as, however many there are.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::json::reader::JsonReader;
use crate::json::text::Json;
use crate::message::signature::Signature;

/// The steps of a chain that follow a task, reversed as in messages: the next step is the last of the list. It is read
/// with the message. The others are only checked to be JSON maps, and are written as they came. Two are equal if their
/// texts are. Cheap to clone; usually a slice of a message's body.
#[derive(Clone, Default)]
pub struct StepsBehind {
    /// The elements of the list, with commas between them.
    text: Bytes,
    /// Where the next step begins, and the step; `None` where nobody has looked for it.
    next: Option<(usize, Arc<Signature>)>,
}

impl StepsBehind {
    /// Reads the JSON list of a message, or a signature alone, which is a list of one. Only the next step is read.
    ///
    /// # Errors
    /// If the bytes are not a JSON list of maps, or if the next step is no signature.
    pub fn from_json(bytes: &Bytes) -> Result<Self> {
        let mut reader = JsonReader::of(bytes)?;
        let steps = Self::read(&mut reader)?;
        reader.end()?;
        Ok(steps)
    }

    pub(crate) fn read(reader: &mut JsonReader<'_>) -> Result<Self> {
        let mut inside: Option<(usize, usize)> = None;
        let mut last = 0;
        let mut element = |reader: &mut JsonReader<'_>| {
            if reader.peek() != b'{' {
                return reader.fail("a signature is missing");
            }
            last = reader.position();
            reader.skip()?;
            inside = Some((inside.map_or(last, |(begin, _)| begin), reader.position()));
            Ok(())
        };
        match reader.peek() {
            b'{' => element(reader)?,
            _ => reader.array(element)?,
        }
        let Some((begin, end)) = inside else { return Ok(Self::default()) };
        let next = Signature::read(&mut reader.at(last))?;
        Ok(Self { text: reader.slice(begin..end), next: Some((last - begin, Arc::new(next))) })
    }

    /// The list as Celery's JSON.
    pub fn to_json(&self) -> Json {
        let mut out = Vec::with_capacity(self.text.len() + 2);
        self.write(&mut out);
        Json::from_checked(out.into())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(&self.text);
        out.push(b']');
    }

    /// How many bytes the text has.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text of the steps, with commas between them.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The next step, if there is one.
    ///
    /// # Errors
    /// If it is no signature.
    pub fn next_step(&self) -> Result<Option<Arc<Signature>>> {
        match &self.next {
            Some((_, next)) => Ok(Some(next.clone())),
            None => self.texts().pop().map(|text| Ok(Arc::new(Signature::from_json(text.as_bytes())?))).transpose(),
        }
    }

    /// The steps behind the next one. Their text is not read.
    #[must_use]
    pub fn behind_next(&self) -> Self {
        let begin = match &self.next {
            Some((begin, _)) => *begin,
            None => self.texts().pop().map_or(0, |last| self.text.len() - last.as_bytes().len()),
        };
        let before = self.text[..begin].trim_ascii_end();
        let before = before.strip_suffix(b",").unwrap_or(before).trim_ascii_end();
        Self { text: self.text.slice(..before.len()), next: None }
    }

    /// The text of each step, in the order of the list.
    pub fn texts(&self) -> Vec<Json> {
        let mut texts = Vec::new();
        // The text was checked when it was read, or was written here: all of it is read.
        if let Ok(mut reader) = JsonReader::of(&self.text) {
            while let Ok(text) = reader.json() {
                texts.push(text);
                reader.comma();
            }
        }
        texts
    }

    /// All steps, in the order of the list.
    ///
    /// # Errors
    /// The first step that is no signature.
    pub fn signatures(&self) -> Result<Vec<Signature>> {
        self.texts().iter().map(|text| Signature::from_json(text.as_bytes())).collect()
    }

    /// Adds steps at the end of the list: they run before those that are there.
    pub fn add_in_front(&mut self, steps: impl IntoIterator<Item = Signature>) {
        let mut out = Vec::from(std::mem::take(&mut self.text));
        for step in steps {
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            let begin = out.len();
            step.write(&mut out);
            self.next = Some((begin, Arc::new(step)));
        }
        self.text = out.into();
    }
}

impl FromIterator<Signature> for StepsBehind {
    fn from_iter<I: IntoIterator<Item = Signature>>(steps: I) -> Self {
        let mut behind = Self::default();
        behind.add_in_front(steps);
        behind
    }
}

impl PartialEq for StepsBehind {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for StepsBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StepsBehind> {
        StepsBehind::from_json(&Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A step that parsed and written again would have another text, and one that is no signature at all.
    const ODD: &str = r#"{"args":[1.0e5,{"b" : 1,"a":2}], "task":"odd","options":{"z":1,"a":1.50}} ,{"args": 5}"#;

    #[test]
    fn only_the_next_step_is_read_and_the_others_keep_their_text() {
        let mut steps = read(&format!(r#"[ {ODD} , {{"task": "b"}},{{"task": "a", "args": [1]}} ]"#)).unwrap();
        for name in ["a", "b"] {
            assert_eq!(&*steps.next_step().unwrap().unwrap().task, name);
            steps = steps.behind_next();
        }
        assert_eq!(steps.as_str(), ODD);
        assert_eq!(steps.to_json().as_str(), format!("[{ODD}]"));
        assert!(steps.next_step().is_err() && steps.signatures().is_err(), "it names no task");
        let odd = steps.behind_next();
        assert_eq!(&*odd.next_step().unwrap().unwrap().task, "odd");
        assert!(odd.behind_next().is_empty() && odd.behind_next().next_step().unwrap().is_none());
        assert!(odd.behind_next().behind_next().is_empty());
    }

    #[test]
    fn the_text_is_that_of_the_message() {
        let body = Bytes::from_static(br#"[{"task": "b"}, {"task": "a"}]"#);
        let steps = StepsBehind::from_json(&body).unwrap();
        assert_eq!(steps.behind_next().text.as_ptr(), body[1..].as_ptr(), "nothing is copied");
    }

    #[test]
    fn steps_are_added_in_front() {
        let mut steps = read(r#"{"task":"z"}"#).unwrap();
        assert_eq!(&*steps.next_step().unwrap().unwrap().task, "z", "a signature alone is a list of one");
        steps.add_in_front(["b", "a"].map(Signature::new));
        let tasks = |steps: &StepsBehind| -> Vec<String> {
            steps.signatures().unwrap().iter().map(|step| step.task.to_string()).collect()
        };
        assert_eq!(tasks(&steps), ["z", "b", "a"]);
        assert_eq!(&*steps.next_step().unwrap().unwrap().task, "a");
        assert!(steps.as_str().starts_with(r#"{"task":"z"}, {"task": "b", "#), "{steps:?}");
        assert_eq!(read(steps.to_json().as_str()).unwrap(), steps);
        steps.add_in_front([]);
        assert_eq!(tasks(&steps.behind_next()), ["z", "b"]);
        assert_eq!([].into_iter().collect::<StepsBehind>().to_json().as_str(), "[]");
    }

    #[test]
    fn what_is_no_list_of_maps_is_refused() {
        for text in ["5", "[5]", r#"[{"task": "a"}, null]"#, r#"[{"task": "a"}"#, r#"[{"args": []}]"#, r#"[{]"#] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("[]").unwrap().is_empty());
    }
}
