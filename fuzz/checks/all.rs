//! The checks by name.

use super::{control, envelope, message, texts};

/// Panics if something does not hold for an input.
pub(crate) type Check = fn(&[u8]);

/// The checks, each with its name: that of its fuzz target.
pub(crate) const ALL: [(&str, Check); 4] =
    [("control", control::check), ("decode", message::check), ("envelope", envelope::check), ("texts", texts::check)];
