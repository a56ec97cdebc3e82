//! Integration tests of the seams: the memory driver under the conformance suite.

mod conformance;
