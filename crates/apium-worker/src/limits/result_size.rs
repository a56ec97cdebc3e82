//! How large a result may be. A result above one size is stored with a warning. Above another one the task has failed,
//! with an error that names both: the caller learns of it, instead of waiting for a result that cannot be stored. A
//! store that refuses a result for its size is answered in the same way.

use std::sync::{Arc, OnceLock};

use apium_app::config::table::Config;
use apium_app::failure::Failure;
use apium_transport::error::Error;

/// A result below this size is refused by no store for its size.
const ALWAYS_TAKEN: usize = 64 << 10;

/// The name of the error.
const CLASS: &str = "apium.ResultTooLarge";

/// The sizes of the settings, in bytes; 0 is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResultSizes {
    pub(crate) warning: usize,
    pub(crate) limit: usize,
}

/// What is to be done about a result of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeCheck {
    Fits,
    /// It is stored, and the log says that it is large.
    Warn,
    /// It is not stored, and the task has failed.
    Refuse,
}

impl ResultSizes {
    pub(crate) fn of(config: &Config) -> Self {
        Self { warning: config.result_size_warning, limit: config.result_size_limit }
    }

    /// What is to be done about a result of `size` bytes.
    pub(crate) fn check(self, size: usize) -> SizeCheck {
        let is_above = |limit: usize| limit > 0 && size > limit;
        match (is_above(self.limit), is_above(self.warning)) {
            (true, _) => SizeCheck::Refuse,
            (false, true) => SizeCheck::Warn,
            (false, false) => SizeCheck::Fits,
        }
    }

    /// The failure of a task whose result is above the limit. `what` is the result, or the error of a task that failed.
    pub(crate) fn failure(self, what: &str, size: usize) -> Failure {
        let limit = self.limit;
        Failure::of_class(CLASS, &format!("{what} has {size} bytes, and result_size_limit is {limit}"))
    }
}

/// The size of a failure as it is stored.
pub(crate) fn size_of_failure(failure: &Failure) -> usize {
    failure.exception().to_json().as_bytes().len() + failure.traceback().map_or(0, str::len)
}

/// A result that the store may refuse for its size, and the failure that it is then. The completer sets the failure;
/// the hooks of the task are told of it.
#[derive(Debug, Clone)]
pub(crate) struct LargeResult {
    size: usize,
    failure: Arc<OnceLock<Failure>>,
}

impl LargeResult {
    /// For a result of `size` bytes; `None` where no store would refuse that.
    pub(crate) fn new(size: usize) -> Option<Self> {
        (size > ALWAYS_TAKEN).then(|| Self { size, failure: Arc::default() })
    }

    /// The store refused the result with this error.
    pub(crate) fn set_refused(&self, error: &Error) -> Failure {
        let text = format!("the result has {} bytes, and the store does not take it: {error:#}", self.size);
        self.failure.get_or_init(|| Failure::of_class(CLASS, &text)).clone()
    }

    /// The failure, if the store refused the result.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_large_above_one_setting_and_too_large_above_the_other() {
        let sizes = ResultSizes { warning: 10, limit: 20 };
        let checks = [0, 10, 11, 20, 21].map(|size| sizes.check(size));
        assert_eq!(checks, [SizeCheck::Fits, SizeCheck::Fits, SizeCheck::Warn, SizeCheck::Warn, SizeCheck::Refuse]);
        assert_eq!(ResultSizes::default().check(usize::MAX), SizeCheck::Fits);
        assert_eq!(ResultSizes { warning: 0, limit: 20 }.check(20), SizeCheck::Fits);
        let failure = sizes.failure("the result", 21);
        assert_eq!(failure.exception().message(), "the result has 21 bytes, and result_size_limit is 20");
        assert_eq!(failure.exception().exc_type, "ResultTooLarge");
    }
}
