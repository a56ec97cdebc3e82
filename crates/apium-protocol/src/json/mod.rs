//! JSON text without a tree: reading and writing it as Python does.

pub mod base64;
pub(crate) mod key;
pub(crate) mod lenient;
pub(crate) mod list;
pub(crate) mod map_writer;
pub(crate) mod reader;
pub(crate) mod serialize;
#[cfg(test)]
mod tests;
pub mod text;
pub(crate) mod utf8;
pub(crate) mod write;
