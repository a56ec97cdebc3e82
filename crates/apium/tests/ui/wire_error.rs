//! An error type that Python knows as one of its classes.

use apium::task::Failure;
use apium::wire_error;

#[wire_error(py = "builtins.ValueError")]
#[derive(Debug)]
enum Bad {
    Value(u8),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Value(value) = self;
        write!(f, "bad value {value}")
    }
}

impl std::error::Error for Bad {}

#[test]
fn python_knows_the_error_by_its_class() {
    let failure = Failure::from_error(Bad::Value(7));
    let exception = failure.exception();
    assert_eq!(exception.exc_type, "ValueError");
    assert_eq!(exception.exc_module.as_deref(), Some("builtins"));
    assert_eq!(exception.to_string(), "ValueError('bad value 7')");
}
