//! What must hold for any input, and inputs to begin with: the captures of real Celery in `tests/vectors`. The fuzz
//! targets of this folder run the checks, and so does a test of `crates/apium`, on a fixed number of mutated captures.

pub(crate) mod all;
pub(crate) mod control;
pub(crate) mod envelope;
pub(crate) mod message;
pub(crate) mod mutate;
pub(crate) mod seeds;
pub(crate) mod texts;
