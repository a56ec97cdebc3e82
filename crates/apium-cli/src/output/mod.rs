//! What a command prints.

pub(crate) mod dead_letter;
pub(crate) mod print;
pub(crate) mod progress;
pub(crate) mod result_document;
