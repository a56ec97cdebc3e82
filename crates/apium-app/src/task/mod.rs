//! A task: its definition, its registration, and its arguments.

pub mod arguments;
pub mod binding;
pub mod class;
pub mod definition;
pub mod into_arguments;
pub mod read_arguments;
pub mod registered;
pub mod registry;
