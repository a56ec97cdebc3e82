//! Apium's own commands.
fn main() {}
