//! A task's parameters, and how wire arguments are bound to them as Python binds them.

use apium_protocol::json::Json;

/// One wire parameter of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name: the keyword argument on the wire.
    pub name: &'static str,
    /// Whether a call may leave it out.
    pub optional: bool,
}

/// The wire parameters of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterList {
    /// Named parameters in order; positional or keyword.
    pub named: &'static [Parameter],
    /// Whether further positional arguments are taken (`*args`).
    pub var_args: bool,
    /// Whether further keyword arguments are taken (`**kwargs`).
    pub var_kwargs: bool,
}

/// The arguments of one call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arguments {
    /// Positional.
    pub args: Vec<Json>,
    /// Keyword.
    pub kwargs: Vec<(String, Json)>,
}
