//! The words of a name, whichever way it is written.

/// The words of `name` in lower case: `TaskRun`, `task_run` and `TASK-RUN` are `task` and `run`.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let letters: Vec<char> = name.chars().collect();
    let mut begins = true;
    for (i, &letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            begins = true;
            continue;
        }
        let after_lower = i > 0 && (letters[i - 1].is_lowercase() || letters[i - 1].is_numeric());
        let before_lower = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        begins |= letter.is_uppercase() && (after_lower || before_lower);
        if begins {
            words.push(String::new());
            begins = false;
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Whether the words of `part` stand in `name` one behind the other; a plural counts as its word.
pub(crate) fn holds(name: &[String], part: &[String]) -> bool {
    let same = |word: &String, wanted: &String| word == wanted || word.strip_suffix('s') == Some(wanted);
    !part.is_empty() && name.windows(part.len()).any(|words| words.iter().zip(part).all(|(a, b)| same(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_where_a_reader_would() {
        assert_eq!(words("TaskRun"), ["task", "run"]);
        assert_eq!(words("task_run_2"), ["task", "run", "2"]);
        assert_eq!(words("HTTPServer"), ["http", "server"]);
        assert_eq!(words("PUT_BACK"), ["put", "back"]);
        assert_eq!(words("apium-redis"), ["apium", "redis"]);
    }

    #[test]
    fn a_part_is_whole_words() {
        let holds = |name: &str, part: &str| holds(&words(name), &words(part));
        assert!(holds("OpenSeat", "seat") && holds("seats", "seat") && holds("run_plain_code", "plain_code"));
        assert!(!holds("Seattle", "seat") && !holds("plain_old_code", "plain_code") && !holds("heartbeat", "beat"));
    }
}
