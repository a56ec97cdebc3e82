//! A state of a task, as a message or a read brought it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};

use apium_protocol::result::document::ResultDocument;
use apium_transport::error::{Error, Result};
use bytes::Bytes;

use crate::backend::document;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A state of a task.
#[derive(Debug)]
pub(crate) struct State {
    /// The hash of the document's bytes: it shows that a message and a read brought the same state.
    pub(crate) print: u64,
    /// Whether it is the last one: the task is ready, or the document cannot be decoded.
    pub(crate) last: bool,
    document: Result<ResultDocument>,
}

impl State {
    pub(crate) fn read(key: &str, bytes: &Bytes) -> Arc<Self> {
        let document = document::result(key, bytes);
        let last = document.as_ref().map_or(true, |document| document.state.is_ready());
        Arc::new(Self { print: HASHER.hash_one(bytes), last, document })
    }

    pub(crate) fn document(&self) -> Result<ResultDocument> {
        match &self.document {
            Ok(document) => Ok(document.clone()),
            Err(error) => Err(Error::new(error.kind(), error.to_string())),
        }
    }
}
