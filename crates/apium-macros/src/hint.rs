//! What to say about a name that does not exist.

/// `did you mean …?` when one of `names` is near, else the list of them.
pub(crate) fn hint(word: &str, names: &[&str]) -> String {
    let nearest = names.iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= 1 + word.len() / 3 => format!("did you mean `{candidate}`?"),
        _ => format!("there are {}", names.join(", ")),
    }
}
