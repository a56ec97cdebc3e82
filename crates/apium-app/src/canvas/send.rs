//! Sending signatures of every kind: they are planned, their chords are opened, their messages are published in
//! batches.

use std::sync::Arc;

use apium_protocol::result::document::ResultTuple;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::backend::chord::{ChordHeader, ChordStore};
use apium_transport::broker::outgoing::Outgoing;

use crate::app::app::App;
use crate::canvas::freeze::{IdSeed, Ids};
use crate::canvas::node::Node;
use crate::canvas::plan::{Plan, PlannedResult, Planner, SendWith};
use crate::context::current::note_child;
use crate::error::{Error, ErrorKind, Result};
use crate::publish::policy::PublishPolicy;
use crate::publish::prepare::{CallSpec, ParentTask, PreparedMessage};
use crate::publish::publisher::{MAX_BATCH, Publisher};

/// Sends a signature and returns its result. Chords are opened first, then the messages are published in batches of at
/// most 2,000, each batch whole or not at all if the broker publishes atomically. What is sent becomes a child of the
/// running task.
///
/// # Errors
/// As [`Call::send`](crate::call::call::Call::send); [`ErrorKind::NoBackend`] for a chord without a result backend that
/// counts its parts. Nothing is sent when one of the messages cannot be made; when the broker fails half-way, the
/// batches before are sent.
pub async fn send(app: &App, node: Node) -> Result<ResultTuple> {
    send_with(app, node, SendWith::default()).await
}

/// Sends a signature as [`send`] does, with further arguments and options.
///
/// # Errors
/// As [`send`].
pub async fn send_with(app: &App, node: Node, with: SendWith) -> Result<ResultTuple> {
    send_through(app, app.publisher(), node, with).await
}

/// Sends a signature as [`send_with`] does, through a publisher that may be another than the app's.
pub(crate) async fn send_through(app: &App, publisher: &Publisher, node: Node, with: SendWith) -> Result<ResultTuple> {
    let ids = Ids::random(publisher.reply_to().clone());
    ReadyWorkflow::new(app, publisher, ids, node, with)?.send(app, publisher).await
}

/// A signature whose messages are made and have passed the layers, so that it can be sent.
#[derive(Debug, Clone)]
pub(crate) struct ReadyWorkflow {
    opens: Vec<ChordHeader>,
    /// The messages, and how publishing each batch is tried.
    batches: Vec<(PublishPolicy, Vec<Outgoing>)>,
    planned: PlannedResult,
    /// Whether what is sent becomes a child of the running task.
    as_child: bool,
}

impl ReadyWorkflow {
    /// Makes the messages of a signature. Nothing is sent.
    ///
    /// # Errors
    /// As [`send`], but for those of the broker and the result backend.
    pub(crate) fn new(app: &App, publisher: &Publisher, ids: Ids, node: Node, with: SendWith) -> Result<Self> {
        let as_child = node.options().rare.as_ref().and_then(|rare| rare.add_to_parent).unwrap_or(true);
        let mut planner = publisher.planner(ids);
        let planned = planner.add(node.with_settings(app.config()), with)?;
        let Plan { opens, calls } = planner.into_plan();
        let mut batches: Vec<(PublishPolicy, Vec<Outgoing>)> = Vec::new();
        for call in calls {
            let PreparedMessage { outgoing, policy, .. } = publisher.prepare(call)?;
            match batches.last_mut().filter(|(_, batch)| batch.len() < MAX_BATCH) {
                Some((_, batch)) => batch.push(outgoing),
                None => batches.push((policy, vec![outgoing])),
            }
        }
        batches.iter_mut().try_for_each(|(_, batch)| publisher.pass_layers(batch))?;
        Ok(Self { opens, batches, planned, as_child })
    }

    /// Its result.
    pub(crate) fn result(&self) -> &ResultTuple {
        &self.planned.result
    }

    /// Opens the chords, then publishes the messages.
    ///
    /// # Errors
    /// As [`send`].
    pub(crate) async fn send(self, app: &App, publisher: &Publisher) -> Result<ResultTuple> {
        let Self { opens, batches, planned, as_child } = self;
        if !opens.is_empty() {
            let (backend, chords) = chords(app.backend())?;
            for header in opens {
                let opened = app.ask(backend.address(), || chords.open(header.clone())).await;
                opened.map_err(|error| {
                    Error::new(ErrorKind::Backend, format!("open the chord {}", header.group)).with_source(error)
                })?;
            }
        }
        for (policy, batch) in batches {
            publisher.publish_passed_calls(batch, policy).await?;
        }
        if as_child {
            note_child(|| planned.child);
        }
        Ok(planned.result)
    }
}

/// A result backend, and its store that counts the parts of chords.
///
/// # Errors
/// [`ErrorKind::NoBackend`] without a result backend, or with one that counts no parts.
pub fn chords(backend: Option<&SharedBackend>) -> Result<(&SharedBackend, &dyn ChordStore)> {
    let Some(backend) = backend else {
        return Err(Error::new(
            ErrorKind::NoBackend,
            "send a chord: no result backend is configured that could count its parts; set result_backend",
        ));
    };
    backend.chords().map(|chords| (backend, chords)).ok_or_else(|| {
        let text = format!("send a chord: the result backend {} counts no parts of chords", backend.address());
        Error::new(ErrorKind::NoBackend, text)
    })
}

impl Publisher {
    /// A planner with these ids and the settings of the app.
    #[doc(hidden)]
    pub fn planner(&self, ids: Ids) -> Planner {
        Planner::new(ids, self.config().chord_ttl())
    }

    /// The messages of calls that follow the task `parent`, which has ended. The worker publishes them, under its own
    /// retry policy.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    #[doc(hidden)]
    pub fn messages_after(&self, calls: Vec<CallSpec>, parent: &ParentTask) -> Result<Vec<Outgoing>> {
        let outgoing = |prepared: PreparedMessage| prepared.outgoing;
        calls.into_iter().map(|call| self.prepare_for(call, Some(parent.clone())).map(outgoing)).collect()
    }

    /// Ids that follow from `seed`, for tasks whose replies go to this app.
    #[doc(hidden)]
    pub fn ids_from(&self, seed: IdSeed) -> Ids {
        Ids::from_seed(seed, Arc::clone(self.reply_to()))
    }
}
