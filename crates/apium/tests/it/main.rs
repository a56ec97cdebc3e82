//! Tests of the facade as a user sees it: command line, examples, bad input, compile-time errors.
