//! Node names: `celery@%h` becomes `celery@worker-3.example.org` (Celery: `-n`, expansions `%h %n %d`).

/// Expands a node name: `%h` is the host's full name, `%n` its first label, `%d` the domain, `%%` a percent sign. A name
/// without `@` is completed with the host.
pub fn expand(name: &str, host: &str) -> String {
    let (first, domain) = host.split_once('.').unwrap_or((host, ""));
    let mut text = String::with_capacity(name.len() + host.len());
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        let with = match (c, rest.peek()) {
            ('%', Some('h')) => host,
            ('%', Some('n')) => first,
            ('%', Some('d')) => domain,
            ('%', Some('%')) => "%",
            _ => {
                text.push(c);
                continue;
            }
        };
        text.push_str(with);
        rest.next();
    }
    if !text.contains('@') {
        text.push('@');
        text.push_str(host);
    }
    text
}

/// The host's name.
pub fn host() -> String {
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
