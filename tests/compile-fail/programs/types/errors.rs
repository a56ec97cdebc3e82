//! What `?` in a task cannot make a failure of.

use std::error::Error;

use apium_app::task_error::TaskResult;

fn parsed(text: &str) -> Result<u8, Box<dyn Error>> {
    Ok(text.parse()?)
}

struct Broken;

fn broken() -> Result<u8, Broken> {
    Err(Broken)
}

/// A boxed error that must not leave its thread.
fn unsendable() -> TaskResult<u8> {
    Ok(parsed("x")?)
}

/// A type that is no error.
fn no_error() -> TaskResult<u8> {
    Ok(broken()?)
}

fn main() {
    let _ = (unsendable(), no_error());
}
