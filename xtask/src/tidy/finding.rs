//! A breach of a rule, and how it is shown.

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, or the crate.
    pub(crate) path: String,
    /// The line, counted from one; zero where no line is meant.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) text: String,
}

impl Finding {
    /// A breach on a line of a file.
    pub(crate) fn at(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }

    /// A breach by a whole file or crate.
    pub(crate) fn of(path: &str, text: impl Into<String>) -> Self {
        Self::at(path, 0, text)
    }

    /// `path:line: text`.
    pub(crate) fn shown(&self) -> String {
        match self.line {
            0 => format!("{}: {}", self.path, self.text),
            line => format!("{}:{line}: {}", self.path, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_line_where_it_has_one() {
        assert_eq!(Finding::at("a.rs", 3, "no").shown(), "a.rs:3: no");
        assert_eq!(Finding::of("a.rs", "no").shown(), "a.rs: no");
    }
}
