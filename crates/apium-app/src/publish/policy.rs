//! How publishing, and whatever else a caller asks of a server, is tried again when the server does not answer, and for
//! how long.

use std::time::Duration;

use apium_protocol::error::with_causes;
use apium_transport::address::Address;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::config::retry_policy::RetryPolicy;
use crate::config::table::Config;
use crate::options::call_options::CallOptions;

/// How often publishing, or another operation of a caller, is tried, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PublishPolicy {
    /// How to try again when the server cannot be reached; `None` tries once.
    pub retry: Option<RetryPolicy>,
    /// How long all tries may take together. Where the number of retries has no limit, how long each try may take.
    pub timeout: Duration,
    /// Whether the call itself says how to try again, and not only the settings.
    pub(crate) is_own: bool,
}

/// The longest wait between two tries of a run that goes on until its broker or store is back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl PublishPolicy {
    /// The policy of the settings: `task_publish_retry`, `task_publish_retry_policy`, `broker_publish_timeout`.
    pub fn of(config: &Config) -> Self {
        let retry = config.task_publish_retry.then_some(config.task_publish_retry_policy);
        Self { retry, timeout: config.broker_publish_timeout, is_own: false }
    }

    /// The policy of a call with these options: `retry`, `retry_policy` and `publish_timeout` win over the settings.
    pub(crate) fn of_call(config: &Config, options: &CallOptions) -> Self {
        let mut policy = Self::of(config);
        match (options.retry, options.retry_policy) {
            (Some(false), _) => policy.retry = None,
            (_, Some(of_call)) => policy.retry = Some(of_call),
            (Some(true), None) => policy.retry = policy.retry.or(Some(RetryPolicy::publish())),
            (None, None) => {}
        }
        policy.timeout = options.publish_timeout.unwrap_or(policy.timeout);
        policy.is_own = options.retry.is_some() || options.retry_policy.is_some() || options.publish_timeout.is_some();
        policy
    }

    /// The policy of a run whose message was acked before it began. It is not delivered again, so what it does goes on
    /// until the broker or the store is back, each try no longer than the timeout.
    pub(crate) fn waiting(mut self) -> Self {
        let policy = self.retry.unwrap_or_default().forever();
        let longest = policy.interval_max.max(LONGEST_WAIT);
        self.retry = Some(policy.interval_max(longest));
        self
    }

    /// Does `operation` at the server `at`, and again after each error that may pass, as long as the policy allows. It
    /// must do no harm when it is done twice, since an answer may be lost.
    ///
    /// # Errors
    /// The last error of the operation; [`ErrorKind::Timeout`] when the time is over before it answers.
    pub async fn run<T, F: Future<Output = Result<T>>>(
        self,
        at: &Address,
        mut operation: impl FnMut() -> F,
    ) -> Result<T> {
        match self.retry {
            Some(RetryPolicy { max_retries: None, .. }) => {
                self.retry(at, || within(self.timeout, at, operation())).await
            }
            _ => within(self.timeout, at, self.retry(at, operation)).await,
        }
    }

    async fn retry<T, F: Future<Output = Result<T>>>(self, at: &Address, mut attempt: impl FnMut() -> F) -> Result<T> {
        let mut retry = 0;
        loop {
            let wait = self.retry.and_then(|policy| policy.wait_before(retry));
            match (attempt().await, wait) {
                (Err(error), Some(wait)) if error.is_retryable() => {
                    tracing::warn!(error = %with_causes(&error), retry, %at, "a server does not answer; trying again");
                    tokio::time::sleep(wait).await;
                    retry = retry.saturating_add(1);
                }
                (outcome, _) => return outcome,
            }
        }
    }
}

async fn within<T>(limit: Duration, at: &Address, operation: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, operation).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let text = format!("get an answer from {at} within {} s", limit.as_secs_f64());
            Err(Error::new(ErrorKind::Timeout, text))
        }
    }
}
