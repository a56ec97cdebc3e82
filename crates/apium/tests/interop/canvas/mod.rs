//! Every shape of the canvas up to depth three, with each of its tasks failing in turn: the outcome with Rust, alone
//! and together with Celery, is the outcome with Celery alone, whichever side sends the workflow and runs each of its
//! tasks.
//!
//! Beside these shapes are the rows of groups ([`rows`]), and the options of workflows ([`options`]).
//!
//! `tests/interop/canvas_shapes.py` lists the shapes. `celery.jsonl` has the outcome of each with Celery alone; the
//! test `full::the_recorded_outcomes_are_still_those_of_celery` compares it with Celery, and writes it when
//! [`selection::WRITE`] is set.

mod case;
mod differences;
mod flow;
mod full;
mod header;
mod matrix;
mod options;
mod rows;
mod run;
mod selection;
mod shape;
mod tasks;
mod workers;
