//! The conformance suite: what every driver has to do, one case at a time.
