//! Encoding several values into one buffer.

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::json::serialize;
use crate::json::text::Json;

/// Encodes values into one buffer, which all of them share. It is made for the arguments of a call: a buffer for each
/// value would cost two allocations a value.
#[derive(Debug, Default)]
pub struct JsonList {
    text: Vec<u8>,
    /// Where each value ends in `text`.
    ends: Vec<usize>,
}

impl JsonList {
    /// A list with room for `count` values.
    pub fn new(count: usize) -> Self {
        Self { text: Vec::with_capacity(if count == 0 { 0 } else { 32 + 32 * count }), ends: Vec::with_capacity(count) }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// As [`Json::from_serialize`]. After an error the list is as it was before.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let before = self.text.len();
        match value.serialize(serialize::PythonSerializer::new(&mut self.text)) {
            Ok(()) => {
                self.ends.push(self.text.len());
                Ok(())
            }
            Err(error) => {
                self.text.truncate(before);
                Err(Error::encode(error))
            }
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The values, in the order in which they were added.
    pub fn into_values(self) -> Vec<Json> {
        let (text, mut start) = (Bytes::from(self.text), 0);
        let slice = |end: usize| Json::from_checked(text.slice(std::mem::replace(&mut start, end)..end));
        self.ends.into_iter().map(slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::JsonList;

    #[test]
    fn values_share_a_buffer_and_a_failed_one_changes_nothing() {
        let mut list = JsonList::new(2);
        list.push(&1).unwrap();
        let bad: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
        list.push(&bad).unwrap_err();
        list.push("two").unwrap();
        assert_eq!((list.len(), list.is_empty()), (2, false));
        let values = list.into_values();
        assert_eq!(values.iter().map(|value| value.as_str()).collect::<Vec<_>>(), ["1", "\"two\""]);
        assert!(JsonList::new(0).into_values().is_empty());
    }
}
