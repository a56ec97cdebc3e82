//! A program without the feature `autodiscover`. Nothing is collected, so the app names each task and each error type.

use std::fmt;

use apium::prelude::*;

/// Half of a number.
///
/// # Errors
/// [`Odd`] for one that has no half.
#[task(name = "by_hand.halve")]
pub async fn halve(number: i64) -> Result<i64, Odd> {
    if number % 2 == 0 { Ok(number / 2) } else { Err(Odd(number)) }
}

/// A task that the app does not name.
#[task(name = "by_hand.forgotten")]
pub fn forgotten() {}

/// The number is odd.
#[wire_error(py = "builtins.ValueError", args = (self.0, "odd"))]
#[derive(Debug)]
pub struct Odd(pub i64);

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is odd", self.0)
    }
}

impl std::error::Error for Odd {}

/// An app that finds nothing by itself.
pub fn app() -> AppBuilder {
    let app = App::builder("by hand").broker("memory://by-hand").backend("memory://by-hand");
    app.autodiscover(false).register::<halve>().register_error::<Odd>()
}
