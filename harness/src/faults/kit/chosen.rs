//! The arguments of a program with fault tests, `full|usual|brief [NAME …]`: how large its tests are, and which of them
//! are run.

use apium::prelude::BoxError;

use crate::faults::kit::row::Row;

/// Runs the tests of the guarantees that are named, or of all. Prints a line for each. Whether Apium kept them.
///
/// # Errors
/// The arguments cannot be read, a guarantee is not there, or a test could not be run.
pub async fn run<S>(
    args: &[&str],
    [full, usual, brief]: [S; 3],
    guarantees: &[&'static str],
    check: impl AsyncFn(&'static str, &S) -> Result<Row, BoxError>,
) -> Result<bool, BoxError> {
    let (size, named) = match args {
        ["full", named @ ..] => (full, named),
        ["usual", named @ ..] => (usual, named),
        ["brief", named @ ..] => (brief, named),
        _ => {
            let example = guarantees.first().copied().unwrap_or_default();
            return Err(format!("read the arguments: give full, usual or brief, and names such as {example}").into());
        }
    };
    let mut kept = true;
    for name in if named.is_empty() { guarantees } else { named } {
        let Some(guarantee) = guarantees.iter().find(|guarantee| *guarantee == name) else {
            return Err(format!("find the guarantee {name:?}: there are {}", guarantees.join(" ")).into());
        };
        let row = check(guarantee, &size).await?;
        row.print();
        kept &= row.apium.kept;
    }
    Ok(kept)
}
