//! The nearest known word to one that is not known.

/// ` (did you mean …?)` when a known word is near, else the list of all.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= 1 + word.len() / 3 => format!("did you mean `{candidate}`?"),
        _ => format!("there are {}", known.join(", ")),
    }
}
