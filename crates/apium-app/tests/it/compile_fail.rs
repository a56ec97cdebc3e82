//! The errors of the compiler for workflows whose types do not fit, and for errors that `?` does not take.
//!
//! When a text is changed, `TRYBUILD=overwrite` in the environment writes the expected texts again.

#[test]
fn the_compiler_names_the_types_that_do_not_fit() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
