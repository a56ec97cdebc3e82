//! The errors of the attributes, for mistakes that they find without the compiler. These cases compile no other crate
//! of Apium, so they are quick. What the attributes accept is tested in the crate `apium`, where it also runs.
//!
//! When a text is changed, `TRYBUILD=overwrite` in the environment writes the expected texts again.

#[test]
fn a_mistake_is_an_error_at_its_place_in_the_source() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
