//! What the attributes say about the mistakes they find themselves. The cases need no other crate of the house, so they
//! are quick; what the attributes accept is shown where it runs, in the tests of `apium`.
//!
//! After a deliberate change of a message, write the expected texts again with `TRYBUILD=overwrite` in the environment.

#[test]
fn a_mistake_is_named_where_it_is_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
