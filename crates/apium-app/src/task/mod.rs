//! Tasks: how one is defined and registered, and how the arguments of a call reach its parameters.

pub mod argument_codec;
pub mod arguments;
pub mod binding;
pub mod class;
pub mod definition;
pub mod foreign;
pub mod into_arguments;
pub mod read_arguments;
pub mod registered;
pub mod registry;
