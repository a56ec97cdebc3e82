//! One command for workers, which is sent alone or with a wait for the replies.

use std::borrow::Cow;
use std::fmt;

use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use serde::Serialize;

use crate::app::app::App;
use crate::control::addressing::Addressing;
use crate::control::exchange::Exchange;
use crate::control::fleet_change::FleetChange;
use crate::control::replies::{ReadAnswer, Replies, Reply};
use crate::error::Result;

/// The arguments of a command by name, in Celery's order.
#[derive(Debug, Default)]
pub(crate) struct CommandArguments(Vec<(String, Json)>);

impl CommandArguments {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    ///
    /// # Errors
    /// If the value cannot be JSON.
    pub(crate) fn with(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        self.0.push((name.to_owned(), Json::from_serialize(value)?));
        Ok(self)
    }
}

impl From<Vec<(String, Json)>> for CommandArguments {
    fn from(arguments: Vec<(String, Json)>) -> Self {
        Self(arguments)
    }
}

/// Called with each reply when it comes.
pub(crate) type OnReply<T> = Box<dyn FnMut(&Reply<T>) + Send>;

/// A command for workers. [`send`](Self::send) broadcasts it, and [`replies`](Self::replies) waits for what the workers
/// answer too (Celery: `reply=True`). `T` is what each worker answers.
#[must_use = "nothing is sent until `send` or `replies` is called"]
pub struct RemoteCommand<T> {
    app: App,
    to: Addressing,
    method: Cow<'static, str>,
    /// The arguments of each request: one, unless there are too many ids for it, or none.
    requests: Result<Vec<CommandArguments>>,
    /// What is written to what all workers share, before.
    before: Option<FleetChange>,
    read: ReadAnswer<T>,
    repeatable: bool,
    on_reply: Option<OnReply<T>>,
}

impl<T> RemoteCommand<T> {
    /// A command with its arguments.
    pub(crate) fn new(
        app: &App,
        to: &Addressing,
        method: impl Into<Cow<'static, str>>,
        arguments: Result<CommandArguments>,
        read: ReadAnswer<T>,
    ) -> Self {
        Self::of_requests(app, to, method, arguments.map(|arguments| vec![arguments]), read)
    }

    /// A command that is sent as several requests.
    pub(crate) fn of_requests(
        app: &App,
        to: &Addressing,
        method: impl Into<Cow<'static, str>>,
        requests: Result<Vec<CommandArguments>>,
        read: ReadAnswer<T>,
    ) -> Self {
        Self {
            app: app.clone(),
            to: to.clone(),
            method: method.into(),
            requests,
            before: None,
            read,
            repeatable: true,
            on_reply: None,
        }
    }

    /// It must not be heard twice, so it is tried once.
    pub(crate) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// Writes this to what all workers share, before the command is sent.
    pub(crate) fn after_change(mut self, change: Option<FleetChange>) -> Self {
        self.before = change;
        self
    }

    /// Calls `callback` with each reply when it comes (Celery: `callback`).
    pub fn on_reply(mut self, callback: impl FnMut(&Reply<T>) + Send + 'static) -> Self {
        self.on_reply = Some(Box::new(callback));
        self
    }

    /// Sends the command. Nobody replies to it, and that nobody listens is no error.
    ///
    /// It is sent within the time that publishing has (`broker_publish_timeout`), and again after errors that may pass
    /// (`task_publish_retry_policy`), unless it would do harm twice. It is not cancel-safe: whether it was sent is not
    /// known then.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) for a broker without broadcasts;
    /// [`Call`](crate::error::ErrorKind::Call) or [`Codec`](crate::error::ErrorKind::Codec) for arguments that are
    /// impossible; [`Publish`](crate::error::ErrorKind::Publish) when the broker cannot be reached or refuses it.
    pub async fn send(self) -> Result<()> {
        let Self { app, to, method, requests, before, repeatable, .. } = self;
        let exchange = Exchange::of(&app, &format!("send the command {method}"), repeatable)?;
        let mut requests = requests_of(&method, requests?, &to)?;
        record(&app, before, &mut requests).await?;
        for request in requests {
            exchange.send(&request, &to).await?;
        }
        Ok(())
    }

    /// Sends the command and waits for the replies: until none came for the timeout, or as many came as were waited
    /// for. There are none where nobody replied in time. A reply that is an error of a worker is an error of that
    /// [`Reply`] alone. A reply that cannot be read is logged.
    ///
    /// Cancelled, it leaves nothing behind, but the command may be sent.
    ///
    /// # Errors
    /// As [`send`](Self::send), and when the mailbox of the replies cannot be opened.
    pub async fn replies(self) -> Result<Replies<T>> {
        let Self { app, to, method, requests, before, read, repeatable, mut on_reply } = self;
        let exchange = Exchange::of(&app, &format!("send the command {method}"), repeatable)?;
        let mut requests = requests_of(&method, requests?, &to)?;
        record(&app, before, &mut requests).await?;
        let mut all = Replies::default();
        for request in requests {
            let mut replies = Vec::new();
            let take = |reply| {
                let reply = Reply::of(reply, read);
                if let Some(callback) = &mut on_reply {
                    callback(&reply);
                }
                replies.push(reply);
            };
            exchange.ask(request, &to, take).await?;
            all.extend(Replies::new(replies));
        }
        Ok(all)
    }
}

impl<T: Send + 'static> RemoteCommand<T> {
    /// As [`send`](Self::send), on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_blocking(self) -> Result<()> {
        let app = self.app.clone();
        app.blocking().run(self.send())?
    }

    /// As [`replies`](Self::replies), on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`replies`](Self::replies).
    pub fn replies_blocking(self) -> Result<Replies<T>> {
        let app = self.app.clone();
        app.blocking().run(self.replies())?
    }
}

/// Writes what workers that start later are to know, and says in the requests that this is done.
async fn record(app: &App, change: Option<FleetChange>, requests: &mut [ControlRequest]) -> Result<()> {
    if let Some(change) = change {
        let is_recorded = change.write(app).await?;
        requests.iter_mut().for_each(|request| request.recorded = is_recorded);
    }
    Ok(())
}

fn requests_of(method: &str, requests: Vec<CommandArguments>, to: &Addressing) -> Result<Vec<ControlRequest>> {
    let request = |CommandArguments(arguments)| {
        let mut request = ControlRequest::new(method, arguments);
        to.apply(&mut request)?;
        Ok(request)
    };
    requests.into_iter().map(request).collect()
}

impl<T> fmt::Debug for RemoteCommand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCommand").field("method", &self.method).field("to", &self.to).finish_non_exhaustive()
    }
}
