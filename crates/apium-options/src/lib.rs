//! The options of Apium's tasks and calls: one table, from which the other crates make the code that parses, holds and
//! sends them.
//!
//! [`options!`] is the table. [`OPTIONS`](option::OPTIONS) holds its rows as data.

pub mod kind;
pub mod option;
mod table;
mod views;
