//! Many calls of one task in few round trips.

use apium_protocol::record::ResultTuple;

use crate::app::App;
use crate::call::note_child;
use crate::call_options::CallOptions;
use crate::error::{Error, Result};
use crate::result::AsyncResult;
use crate::setters::call_options;
use crate::signature::Signature;

/// How many messages are published at once.
pub(crate) const AT_ONCE: usize = 2_000;

/// Calls that are sent together. Options given here go to every call, over its own.
#[must_use = "nothing is sent until `send_all` is called"]
#[derive(Debug, Clone)]
pub struct Batch<T> {
    calls: Vec<Signature<T>>,
    options: CallOptions,
    failed: Option<std::sync::Arc<Error>>,
}

impl<T> Batch<T> {
    /// A batch of these calls.
    pub fn of(calls: impl IntoIterator<Item = Signature<T>>) -> Self {
        Self { calls: calls.into_iter().collect(), options: CallOptions::default(), failed: None }
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether it has no call.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert_with(|| std::sync::Arc::new(error));
    }

    /// Sends all calls, 2,000 messages at a time, each lot whole or not at all. The results are in the order of the calls.
    ///
    /// # Errors
    /// As [`Call::send`](crate::call::Call::send). Nothing is sent when one of the calls cannot be made into a message; when the
    /// broker fails half-way, the lots before are sent.
    pub async fn send_all(self, app: &App) -> Result<Vec<AsyncResult<T>>> {
        if let Some(error) = &self.failed {
            return Err(Error::new(error.kind(), format!("call a batch: {error}")));
        }
        let own = self.options;
        let calls = self.calls.into_iter().map(|mut call| {
            if own != CallOptions::default() {
                let mut options = own.clone();
                options.fill_from(call.options());
                *call.options_mut() = options;
            }
            call
        });
        send_all(app, calls.collect(), |_| true).await
    }

    /// Sends all calls from plain code.
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all).
    pub fn send_all_blocking(self, app: &App) -> Result<Vec<AsyncResult<T>>>
    where
        T: 'static,
    {
        let (app, on) = (app.clone(), app.clone());
        on.blocking().run(async move { self.send_all(&app).await })?
    }
}

call_options!(T, Batch<T>);

/// Sends calls in lots. `is_child` says whether a call counts among the children of the running task by itself.
pub(crate) async fn send_all<T>(
    app: &App,
    calls: Vec<Signature<T>>,
    is_child: impl Fn(&Signature<T>) -> bool,
) -> Result<Vec<AsyncResult<T>>> {
    let mut results = Vec::with_capacity(calls.len());
    if app.config().task_always_eager {
        for call in calls {
            results.push(call.send(app).await?);
        }
        return Ok(results);
    }
    calls.iter().try_for_each(Signature::check)?;
    let publisher = app.publisher();
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let (mut lot, mut policy, mut children) = (Vec::new(), None, Vec::new());
        for call in calls.by_ref().take(AT_ONCE) {
            let is_child = is_child(&call);
            let backend = app.backend_of(call.task()).cloned();
            let prepared = publisher.prepare(call.into_spec()?)?;
            policy.get_or_insert(prepared.policy);
            lot.push(prepared.outgoing);
            if is_child && prepared.add_to_parent {
                children.push(prepared.id.clone());
            }
            results.push(AsyncResult::sent(app, prepared.id, backend, prepared.ignored));
        }
        if let Some(policy) = policy {
            publisher.publish_under(lot, policy).await?;
        }
        for id in children {
            note_child(|| ResultTuple::task(id));
        }
    }
    Ok(results)
}
