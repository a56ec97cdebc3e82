//! The scripts that run inside the server, each an atomic step. Their texts stand in `scripts/`.

use std::sync::LazyLock;

/// A script with its hash.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The hash by which the server knows it.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Its text.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

/// Takes messages and notes that they are out.
pub(crate) static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/claim.lua")));
