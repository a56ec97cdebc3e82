//! What the compiler says of each program is what stands beside it.
//!
//! When a text has changed, `COMPILE_FAIL=overwrite` in the environment writes the texts again.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::{Path, PathBuf};

/// The programs, without their ending.
fn programs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let mut all = Vec::new();
    for entry in ["attributes", "types"].into_iter().flat_map(|part| std::fs::read_dir(folder.join(part)).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            all.push(path.with_extension(""));
        }
    }
    all.sort();
    all
}

#[test]
fn every_program_fails_with_the_errors_beside_it() {
    let found = apium_compile_fail::errors(&programs()).unwrap();
    assert_eq!(found.len(), 10);
    let mut wrong = String::new();
    for (program, errors) in &found {
        let file = program.with_extension("stderr");
        if std::env::var("COMPILE_FAIL").is_ok_and(|how| how == "overwrite") {
            std::fs::write(&file, errors).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        if errors.is_empty() || *errors != wanted {
            wrong.push_str(&format!("\n--- {}: wanted\n{wanted}\n--- found\n{errors}", program.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
