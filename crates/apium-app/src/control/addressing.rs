//! Which workers a command is for, and how long their replies are waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use apium_protocol::message::control::ControlRequest;

use crate::error::{Error, ErrorKind, Result};

/// How the pattern of node names is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternMatcher {
    /// As the shell reads names of files: `w*@host` (Celery: `glob`).
    Glob,
    /// As a regular expression that begins at the start of the name (Celery: `pcre`). A worker of Apium takes `\w` and
    /// `\d` as ASCII, and refuses lookaround.
    Pcre,
}

impl PatternMatcher {
    /// Celery's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glob => "glob",
            Self::Pcre => "pcre",
        }
    }
}

/// The workers that are meant, and the wait for them.
#[derive(Debug, Clone)]
pub(crate) struct Addressing {
    pub(crate) destination: Vec<String>,
    pub(crate) pattern: Option<(String, PatternMatcher)>,
    /// How long after the last reply the wait ends.
    pub(crate) timeout: Duration,
    pub(crate) limit: Option<usize>,
}

impl Addressing {
    /// All workers; 1 s, as in Celery.
    pub(crate) const ALL: Self =
        Self { destination: Vec::new(), pattern: None, timeout: Duration::from_secs(1), limit: None };

    /// Whether it means all workers, also those that start later.
    pub(crate) fn is_everybody(&self) -> bool {
        self.destination.is_empty() && self.pattern.is_none()
    }

    /// After how many replies the wait ends: as many as were asked for, else as many as nodes were named.
    pub(crate) fn reply_limit(&self) -> usize {
        let named: BTreeSet<&str> = self.destination.iter().map(String::as_str).collect();
        self.limit.or((!named.is_empty()).then_some(named.len())).unwrap_or(usize::MAX)
    }

    /// Puts it into a request.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for a name or a pattern that is empty.
    pub(crate) fn apply(&self, request: &mut ControlRequest) -> Result<()> {
        let wrong = |what: &str| {
            let text =
                format!("send the command {} to workers: {what} is empty; name nodes as w1@host", request.method);
            Err(Error::new(ErrorKind::Call, text))
        };
        if self.destination.iter().any(|node| node.trim().is_empty()) {
            return wrong("a name in its destination");
        }
        if self.pattern.as_ref().is_some_and(|(pattern, _)| pattern.is_empty()) {
            return wrong("its pattern");
        }
        request.destination = (!self.destination.is_empty()).then(|| self.destination.clone());
        if let Some((pattern, matcher)) = &self.pattern {
            request.pattern = Some(pattern.clone());
            request.matcher = Some(matcher.name().to_owned());
        }
        Ok(())
    }
}

/// The setters that a client of remote control has.
macro_rules! addressed {
    ($client:ty) => {
        impl $client {
            /// Means these nodes alone (`w1@host`; Celery: `destination`). The wait for replies ends when each has
            /// replied. No names mean all workers.
            pub fn destination<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
                self.to.destination = nodes.into_iter().map(Into::into).collect();
                self
            }

            /// Means the nodes whose names match (Celery: `pattern`, `matcher`). It counts only without a destination.
            pub fn pattern(
                mut self,
                pattern: impl Into<String>,
                matcher: $crate::control::addressing::PatternMatcher,
            ) -> Self {
                self.to.pattern = Some((pattern.into(), matcher));
                self
            }

            /// How long to wait for the next reply (default: 1 s, as in Celery): the wait ends that long after the last
            /// one.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.to.timeout = timeout;
                self
            }

            /// Waits for so many replies at most (default: as many as nodes are named, else without limit).
            pub fn limit(mut self, replies: usize) -> Self {
                self.to.limit = Some(replies);
                self
            }
        }
    };
}

pub(crate) use addressed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_replies_are_waited_for_as_nodes_are_named() {
        let mut to = Addressing::ALL;
        assert_eq!((to.reply_limit(), to.is_everybody()), (usize::MAX, true));
        to.destination = vec!["a@h".into(), "b@h".into(), "a@h".into()];
        assert_eq!((to.reply_limit(), to.is_everybody()), (2, false));
        to.limit = Some(1);
        assert_eq!(to.reply_limit(), 1);
    }

    #[test]
    fn empty_names_are_refused() {
        let mut request = ControlRequest::new("ping", Vec::new());
        let to = Addressing { destination: vec![" ".into()], ..Addressing::ALL };
        let error = to.apply(&mut request).unwrap_err().to_string();
        assert!(error.contains("ping") && error.contains("destination"), "{error}");
        let to = Addressing { pattern: Some((String::new(), PatternMatcher::Glob)), ..Addressing::ALL };
        assert!(to.apply(&mut request).unwrap_err().to_string().contains("pattern"));
    }
}
