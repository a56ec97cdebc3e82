//! What must hold for any input, and inputs to begin with: the captures of real Celery in `tests/vectors`. The fuzz
//! targets of this folder run the checks, and so does a test of `crates/apium`, on a fixed number of mutated captures.

pub(crate) mod envelope;
pub(crate) mod message;
pub(crate) mod mutate;
pub(crate) mod seeds;
pub(crate) mod texts;

/// Panics if something does not hold for an input.
pub(crate) type Check = fn(&[u8]);

/// The checks, each with its name: that of its fuzz target.
pub(crate) const ALL: [(&str, Check); 3] =
    [("decode", message::check), ("envelope", envelope::check), ("texts", texts::check)];
