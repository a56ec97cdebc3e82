//! Texts whose numbers do not matter.

/// A text with a zero for each number. What is behind a point belongs to the number.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let goes_on = |next: Option<&char>| next.is_some_and(char::is_ascii_digit);
        match letter {
            '0'..='9' => {
                if !out.ends_with('0') {
                    out.push('0');
                }
            }
            '.' if out.ends_with('0') && goes_on(letters.peek()) => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn a_number_is_one_zero() {
    assert_eq!(without_numbers("a 12.50 b3, 4. 0.1.2 x.5"), "a 0 b0, 0. 0 x.0");
}
