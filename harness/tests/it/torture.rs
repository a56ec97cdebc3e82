//! A tenth of the fault test.

use std::process::Command;

#[test]
fn twenty_kills_lose_nothing() {
    let out = Command::new(env!("CARGO_BIN_EXE_torture_sqlite")).arg("20").output().unwrap();
    let (figures, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{figures}\n{errors}");
    assert!(figures.contains(r#""measure":"published""#), "{figures}");
}
