//! The pool of processes: children in which bodies run, so that one that crashes, hangs or leaks harms nobody else.
//! `docs/CHILD-PROTOCOL.md` says how the worker and its children talk.

pub(crate) mod child;
pub mod child_program;
pub(crate) mod children;
pub(crate) mod children_service;
pub(crate) mod frame;
pub mod lifecycle;
pub mod messages;
pub(crate) mod process_pool;
pub(crate) mod spawner;
