//! What the completer does about a batch of completions: the lanes in which they wait, one attempt to do them, when it
//! tries again in an outage (as the fetching loop does), what becomes of those that a store refuses, and of results
//! that are too large.

pub(crate) mod attempt;
pub(crate) mod lane;
pub(crate) mod large_result;
pub(crate) mod outage;
pub(crate) mod refused;
