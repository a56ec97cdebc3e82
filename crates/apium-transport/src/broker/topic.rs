//! How topic exchanges match routing keys: words between dots, `*` for one word, `#` for any number of words.

/// Whether the routing key `key` matches the topic `pattern`, as AMQP defines it.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    // Globbing over words: after a mismatch, go back to the last `#` and let it match one word more.
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = if key.is_empty() { Vec::new() } else { key.split('.').collect() };
    let (mut p, mut k) = (0, 0);
    let mut retreat: Option<(usize, usize)> = None;
    while k < key.len() {
        match pattern.get(p) {
            Some(&"#") => {
                retreat = Some((p, k));
                p += 1;
            }
            Some(word) if *word == "*" || *word == key[k] => {
                p += 1;
                k += 1;
            }
            _ => match retreat {
                Some((hash, from)) => {
                    retreat = Some((hash, from + 1));
                    p = hash + 1;
                    k = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|word| *word == "#") || (key.is_empty() && pattern == [""])
}

#[cfg(test)]
mod tests {
    use super::topic_matches;

    #[test]
    fn words_stars_and_hashes() {
        for (pattern, key, fits) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*", "", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "b", false),
            ("#.c", "a.b.c", true),
            ("#.c", "c", true),
            ("#.c", "a.c.b", false),
            ("#.b.#", "a.b.c", true),
            ("#.b.#", "a.c", false),
            ("*.b.#", "a.b", true),
            ("#.*", "", false),
            ("#.*.#", "a", true),
            ("", "", true),
            ("", "a", false),
            ("a.#.d.#.g", "a.b.d.d.e.g", true),
            ("worker.*", "worker.*", true),
            ("ä.*", "ä.ö", true),
        ] {
            assert_eq!(topic_matches(pattern, key), fits, "{pattern:?} against {key:?}");
        }
    }

    /// The definition, written down directly; slow.
    fn by_definition(pattern: &[u8], key: &[u8]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((b'#', rest)) => (0..=key.len()).any(|n| by_definition(rest, &key[n..])),
            Some((b'*', rest)) => !key.is_empty() && by_definition(rest, &key[1..]),
            Some((word, rest)) => key.first() == Some(word) && by_definition(rest, &key[1..]),
        }
    }

    #[test]
    fn agrees_with_the_definition_on_every_short_case() {
        let words = |letters: &[u8]| letters.iter().map(|l| char::from(*l).to_string()).collect::<Vec<_>>().join(".");
        let all = |alphabet: &[u8], len: usize| {
            (0..alphabet.len().pow(len as u32))
                .map(|mut n| {
                    (0..len)
                        .map(|_| {
                            let letter = alphabet[n % alphabet.len()];
                            n /= alphabet.len();
                            letter
                        })
                        .collect::<Vec<u8>>()
                })
                .collect::<Vec<_>>()
        };
        for pattern in (1..=4).flat_map(|len| all(b"ab*#", len)) {
            for key in (0..=4).flat_map(|len| all(b"ab", len)) {
                let (p, k) = (words(&pattern), words(&key));
                assert_eq!(topic_matches(&p, &k), by_definition(&pattern, &key), "{p:?} against {k:?}");
            }
        }
    }
}
