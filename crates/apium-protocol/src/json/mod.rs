//! JSON text, read and written as Python does, without building a tree of values.

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
