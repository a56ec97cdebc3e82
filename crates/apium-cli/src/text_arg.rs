//! Names on the command line: queues and task ids, none of which may be empty.

/// Reads the name of a queue. Blanks around it are none of it: `-Q 'mail, celery'`.
pub(crate) fn queue(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the name of a queue is empty".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Reads a task id: any text but an empty one.
pub(crate) fn id(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("the id of a task is empty".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_none_is_empty() {
        assert_eq!(queue(" mail "), Ok("mail".to_owned()));
        assert_eq!(id(" any text "), Ok(" any text ".to_owned()));
        for text in ["", " ", "\t"] {
            assert!(queue(text).is_err() && id(text).is_err());
        }
    }
}
