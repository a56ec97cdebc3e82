//! Task ids: any text, by default a random UUID.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The id of a task: any text. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// A new random id: a UUID of version 4, as in Celery.
    pub fn random() -> Self {
        let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
        Self(Arc::from(&*random_uuid().hyphenated().encode_lower(&mut text)))
    }

    /// The id's text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many random bytes are fetched at once: those of 32 ids.
const FETCHED: usize = 32 * 16;

/// Random bytes of the system, and how many of them are used up.
struct Random {
    bytes: [u8; FETCHED],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [0; FETCHED], used: FETCHED }) };
}

/// A UUID of version 4. Its bytes are the system's, but not every one costs a system call: a producer makes an id for
/// each message.
fn random_uuid() -> uuid::Uuid {
    let bytes = RANDOM.with_borrow_mut(|random| {
        if random.used == FETCHED {
            getrandom::fill(&mut random.bytes)?;
            random.used = 0;
        }
        let mut id = [0u8; 16];
        id.copy_from_slice(&random.bytes[random.used..random.used + 16]);
        random.used += 16;
        Ok::<_, getrandom::Error>(id)
    });
    match bytes {
        Ok(bytes) => uuid::Builder::from_random_bytes(bytes).into_uuid(),
        // It asks the system once more, and says what is wrong.
        Err(_) => uuid::Uuid::new_v4(),
    }
}

impl From<&str> for TaskId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for TaskId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn random_ids_are_uuids_of_version_4_and_all_differ() {
        let many = || (0..100).map(|_| TaskId::random().to_string()).collect::<Vec<_>>();
        let other = std::thread::spawn(many).join().unwrap();
        let ids: BTreeSet<String> = many().into_iter().chain(other).collect();
        assert_eq!(ids.len(), 200);
        for id in &ids {
            let read = uuid::Uuid::parse_str(id).unwrap();
            assert_eq!((read.get_version_num(), read.get_variant()), (4, uuid::Variant::RFC4122), "{id}");
        }
    }
}
