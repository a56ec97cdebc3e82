//! How errors are shown: each prints its own context, and whoever prints a chain of them prints every cause once.

use apium_app::canvas::node::Node;
use apium_app::error::{Error, ErrorKind};
use apium_protocol::error::with_causes;
use apium_protocol::message::signature::Signature as WireSignature;

use crate::kit::{self, Add};

/// An error of the app whose cause is one of a driver, whose cause is one of the protocol, whose cause is one of the
/// standard library. The text of each is its place in the chain.
fn chain() -> Error {
    use apium_protocol::error as protocol;
    use apium_transport::error as transport;

    let cause = std::io::Error::other("four");
    let cause = protocol::Error::new(protocol::ErrorKind::Decode, "three").with_source(cause);
    let cause = transport::Error::new(transport::ErrorKind::Other, "two").with_source(cause);
    Error::new(ErrorKind::Backend, "one").with_source(cause)
}

#[test]
fn no_error_prints_its_cause() {
    let error = chain();
    let mut texts = vec![error.to_string()];
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    assert_eq!(texts, ["one", "two", "three", "four"]);
}

#[test]
fn each_cause_is_printed_once_alone_and_in_the_errors_of_anyhow_and_eyre() {
    let whole = "one: two: three: four";
    assert_eq!(format!("{:#}", chain()), whole);
    assert_eq!(with_causes(&chain()).to_string(), whole);
    let with_anyhow = || -> anyhow::Result<()> { Err(chain())? };
    let with_eyre = || -> eyre::Result<()> { Err(chain())? };
    assert_eq!(format!("{:#}", with_anyhow().unwrap_err()), whole);
    assert_eq!(format!("{:#}", with_eyre().unwrap_err()), whole);
    let texts: Vec<String> = with_anyhow().unwrap_err().chain().map(ToString::to_string).collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn what_a_user_meets_prints_no_cause_twice() {
    let (app, _) = kit::app().await;
    let of = |kwargs: &str| {
        let wire = format!(r#"{{"task": "celery.chunks", "kwargs": {kwargs}, "subtask_type": "chunks"}}"#);
        Node::from_wire(&WireSignature::from_json(wire.as_bytes()).unwrap()).unwrap_err()
    };
    let serializer = kit::builder().setting("task_serializer", "jason").register::<Add>().build().await.unwrap_err();
    let errors = [
        of(r#"{"task": 1, "it": 1, "n": "two"}"#),
        of(r#"{"task": 1, "it": 1, "n": 2}"#),
        Add::s(1, 2).call().serializer("jason").send(&app).await.unwrap_err(),
        serializer,
    ];
    for error in errors {
        let whole = format!("{error:#}");
        let mut next = std::error::Error::source(&error);
        assert!(next.is_some(), "{whole} has a cause");
        while let Some(cause) = next {
            assert_eq!(whole.matches(&cause.to_string()).count(), 1, "{cause}, of: {whole}");
            next = cause.source();
        }
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), whole);
    }
}
