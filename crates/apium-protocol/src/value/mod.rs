//! Python's values as a tree, and their `repr`.

pub mod deserialize;
pub(crate) mod parse;
pub mod printable;
pub mod python_types;
pub mod repr;
pub mod repr_plain;
pub(crate) mod serialize;
pub mod value;
pub(crate) mod write;
