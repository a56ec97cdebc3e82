//! Node names: `celery@%h` becomes `celery@worker-3.example.org` (Celery: `-n`).

/// Expands a node name as Celery does: `%h` is the host's full name, `%n` its first label, `%d` its domain, `%%` a
/// percent sign. A name without `@` gets `@` and the host appended.
pub(crate) fn expand(name: &str, host: &str) -> String {
    let (first, domain) = host.split_once('.').unwrap_or((host, ""));
    let mut text = String::with_capacity(name.len() + host.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let expansion = match (c, chars.peek()) {
            ('%', Some('h')) => host,
            ('%', Some('n')) => first,
            ('%', Some('d')) => domain,
            ('%', Some('%')) => "%",
            _ => {
                text.push(c);
                continue;
            }
        };
        text.push_str(expansion);
        chars.next();
    }
    if !text.contains('@') {
        text.push('@');
        text.push_str(host);
    }
    text
}

/// The name of this host, as the system reports it.
pub(crate) fn host() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_letters_stand_for_parts_of_the_host_name() {
        let host = "db1.example.org";
        for (name, full) in [
            ("celery@%h", "celery@db1.example.org"),
            ("w1@%n", "w1@db1"),
            ("w1@%d", "w1@example.org"),
            ("w1", "w1@db1.example.org"),
            ("100%%@%n", "100%@db1"),
            ("%i@x%", "%i@x%"),
        ] {
            assert_eq!(expand(name, host), full, "{name}");
        }
        assert_eq!(expand("w@%n.%d", "plain"), "w@plain.");
    }
}
