//! Results, watches and chords on Celery's keys.

mod chords;
mod results;
mod watching;
