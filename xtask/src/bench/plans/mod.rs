//! The plans.

pub(crate) mod all;
mod amqp;
mod canvas;
mod processes;
mod redis;
