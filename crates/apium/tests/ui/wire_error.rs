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

/// An error with arguments of its own.
#[wire_error(py = "shop.errors.OutOfStock", args = (&self.article, self.left))]
#[derive(Debug)]
struct OutOfStock {
    article: String,
    left: u8,
}

/// An error with as many arguments as it has.
#[wire_error(py = "shop.errors.Refused", args = match self {
    Self::Bare => Vec::new(),
    Self::For(reasons) => reasons.clone(),
})]
#[derive(Debug)]
enum Refused {
    Bare,
    For(Vec<&'static str>),
}

/// An error that never has one.
#[wire_error(py = "shop.errors.Closed", args = ())]
#[derive(Debug)]
struct Closed;

/// An error whose arguments cannot be written.
#[wire_error(py = "shop.errors.Odd", args = "no list")]
#[derive(Debug)]
struct Odd;

macro_rules! errors {
    ($($error:ident),+) => {$(
        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!("the text of ", stringify!($error)))
            }
        }

        impl std::error::Error for $error {}
    )+};
}
errors!(OutOfStock, Refused, Closed, Odd);

#[test]
fn an_exception_has_the_arguments_that_the_attribute_names() {
    let repr = |failure: Failure| failure.exception().to_string();
    let out = Failure::from_error(OutOfStock { article: "pen".to_owned(), left: 2 });
    assert_eq!(out.exception().exc_module.as_deref(), Some("shop.errors"));
    assert_eq!(repr(out), "OutOfStock('pen', 2)");
    assert_eq!(repr(Failure::from_error(Refused::For(vec!["late", "wet"]))), "Refused('late', 'wet')");
    assert_eq!(repr(Failure::from_error(Refused::Bare)), "Refused()");
    assert_eq!(repr(Failure::from_error(Closed)), "Closed()");
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(Closed);
    assert_eq!(repr(Failure::from_boxed(boxed)), "Closed()", "in a box too");
    assert_eq!(repr(Failure::from_error(Odd)), "Odd('the text of Odd')", "its text at least");
}

#[test]
fn python_knows_the_error_by_its_class() {
    let failure = Failure::from_error(Bad::Value(7));
    let exception = failure.exception();
    assert_eq!(exception.exc_type, "ValueError");
    assert_eq!(exception.exc_module.as_deref(), Some("builtins"));
    assert_eq!(exception.to_string(), "ValueError('bad value 7')");
}
