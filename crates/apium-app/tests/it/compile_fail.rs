//! What the compiler says about workflows that do not fit together.
//!
//! After a deliberate change of a message, write the expected texts again with `TRYBUILD=overwrite` in the environment.

#[test]
fn what_does_not_fit_is_named_with_its_types() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
