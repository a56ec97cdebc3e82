//! JSON arguments of the command line. Numbers keep every digit.

use apium_protocol::error::Error;
use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;

/// The elements of a JSON array.
pub(crate) fn array(text: &str) -> Result<Vec<Json>, String> {
    match Value::parse(text) {
        Ok(Value::List(list)) => Ok(list.iter().map(Json::from_value).collect()),
        Ok(other) => Err(format!("it is {}", other.kind())),
        Err(error) => Err(why(text, &error)),
    }
}

/// Why a text is no JSON.
fn why(text: &str, error: &Error) -> String {
    let quotes = if text.contains('\'') { "; texts stand in double quotes" } else { "" };
    format!("{error:#}{quotes}")
}

/// The entries of a JSON object, in order.
pub(crate) fn object(text: &str) -> Result<Vec<(String, Json)>, String> {
    match Value::parse(text) {
        Ok(Value::Map(entries)) => {
            Ok(entries.into_iter().map(|(key, value)| (key, Json::from_value(&value))).collect())
        }
        Ok(other) => Err(format!("it is {}", other.kind())),
        Err(error) => Err(why(text, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let args = array("[123456789012345678901234567890, 3.0, -0.0, \"é\"]").unwrap();
        let texts: Vec<_> = args.iter().map(Json::to_utf8).collect();
        assert_eq!(texts, ["123456789012345678901234567890", "3.0", "-0.0", "\"é\""]);
    }

    #[test]
    fn keyword_arguments_keep_their_order() {
        let kwargs = object(r#"{"z": 1, "a": [2]}"#).unwrap();
        assert_eq!(kwargs.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["z", "a"]);
    }

    #[test]
    fn the_wrong_kind_is_named() {
        assert_eq!(array("{}"), Err("it is a map".into()));
        assert!(object("[1]").unwrap_err().contains("a list"));
        assert!(array("[1,").is_err_and(|why| !why.contains("quotes")));
        assert!(array("['a', 1]").is_err_and(|why| why.ends_with("texts stand in double quotes")));
    }
}
