//! A result as it is printed: Celery's result document, or a line for people.

use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;

use crate::exit::{Code, CommandError, Result};
use crate::output::print;
use crate::session::Session;

/// Celery's document as one line of JSON, letters in UTF-8.
pub(crate) fn text(document: &ResultDocument) -> Result<String> {
    let json = Json::from_bytes(document.to_json().into());
    json.map(|json| json.to_utf8()).map_err(|error| CommandError::new(Code::Other, format!("{error:#}")))
}

/// Prints a result: the document, or its state and value.
pub(crate) fn print(session: &Session, document: &ResultDocument, traceback: bool) -> Result<()> {
    if session.json {
        return print::line(&text(document)?);
    }
    print::line(&summary(document))?;
    match &document.traceback {
        Some(text) if traceback => print::lines(text.trim_end()),
        _ => Ok(()),
    }
}

/// The state and the value or exception, in one line.
pub(crate) fn summary(document: &ResultDocument) -> String {
    let state = document.state.as_str();
    match &document.state {
        State::Pending => format!("{state}  (waiting, or not known)"),
        state_with_error if state_with_error.is_exception() => format!("{state}  {}", exception(document)),
        _ if document.result.is_null() => state.to_owned(),
        _ => format!("{state}  {}", document.result.to_utf8()),
    }
}

/// The stored exception as `Type: message`.
pub(crate) fn exception(document: &ResultDocument) -> String {
    let exception = ExceptionInfo::from_json(&document.result);
    let message = exception.message();
    if message.is_empty() { exception.exc_type } else { format!("{}: {message}", exception.exc_type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(state: &str, result: &str) -> ResultDocument {
        ResultDocument::new("t-1", State::from(state), Json::from_text(result).unwrap())
    }

    #[test]
    fn the_document_is_celerys_in_utf8() {
        let text = text(&document("SUCCESS", r#""na\u00efve""#)).unwrap();
        assert_eq!(
            text,
            r#"{"status": "SUCCESS", "result": "naïve", "traceback": null, "children": null, "date_done": null, "task_id": "t-1"}"#
        );
    }

    #[test]
    fn a_summary_has_the_state_and_what_belongs_to_it() {
        assert_eq!(summary(&document("SUCCESS", "[1, 2]")), "SUCCESS  [1, 2]");
        assert_eq!(summary(&document("SUCCESS", "null")), "SUCCESS");
        assert_eq!(summary(&document("PROGRESS", r#"{"current": 1}"#)), r#"PROGRESS  {"current": 1}"#);
        let error = r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#;
        assert_eq!(summary(&document("FAILURE", error)), "FAILURE  ValueError: boom");
        assert!(summary(&ResultDocument::pending("x")).starts_with("PENDING  "));
    }
}
