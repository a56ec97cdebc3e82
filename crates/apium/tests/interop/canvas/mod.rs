//! Every shape of the canvas up to depth three, with each of its tasks failing in turn: what Celery makes of it is what Rust makes of it,
//! alone, and together with Celery, whoever sends it and whoever runs which of its tasks.
//!
//! `tests/interop/canvas_shapes.py` says which shapes there are. `celery.jsonl` is what Celery alone makes of each of them; the
//! test `full::celery_still_says_what_is_written_down` compares it with Celery, and writes it when [`draw::WRITE`] is set.

mod case;
mod differences;
mod draw;
mod flow;
mod full;
mod ground;
mod header;
mod matrix;
mod run;
mod shape;
mod tasks;
