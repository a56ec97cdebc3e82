//! Recounts: the message that counts a part of a chord once more ([`CHORD_PART`]), and how a worker reads it.

use std::time::Duration;

use apium_app::builtin_tasks::CHORD_PART;
use apium_app::canvas::node::Node;
use apium_app::context::request::Request;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::options::call_options::CallOptions;
use apium_app::publish::prepare::{CallSpec, ParentTask};
use apium_app::task::arguments::Arguments;
use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::state::State;
use apium_transport::backend::chord::ChordPart;
use apium_transport::broker::outgoing::Outgoing;

use crate::follow_up::builder::FollowUpBuilder;

/// A part of a chord that is to be counted once more.
#[derive(Debug, Clone)]
pub(crate) struct Recount {
    pub(crate) group: String,
    pub(crate) task_id: TaskId,
    pub(crate) group_index: Option<i64>,
    pub(crate) state: State,
    pub(crate) result: Json,
}

impl Recount {
    /// Reads the part and the body of its chord from the request of a recount; `None` for any other task.
    ///
    /// # Errors
    /// An argument that is missing or cannot be read.
    pub(crate) fn read(request: &Request) -> Result<Option<(Self, Node)>> {
        if request.headers.task.as_deref() != Some(CHORD_PART) {
            return Ok(None);
        }
        let argument = |name: &str| {
            let value = request.kwargs().iter().find(|(other, _)| other == name).map(|(_, value)| value);
            let text = || format!("count a part of a chord once more: the message has no argument {name}");
            value.ok_or_else(|| Error::new(ErrorKind::Call, text()))
        };
        let part = Self {
            group: argument("group")?.decode()?,
            task_id: argument("task_id")?.decode()?,
            group_index: argument("group_index")?.decode()?,
            state: State::from(argument("state")?.decode::<String>()?.as_str()),
            result: argument("result")?.clone(),
        };
        let body = argument("body")?.decode::<WireSignature>()?;
        Ok(Some((part, Node::from_wire(&body)?)))
    }

    /// The message that counts `part` once more, not before `after` has passed. `parent` is the task whose part it is,
    /// and `request` that of the run whose end ends the part. Its own headers go along, for the layers that see what is
    /// sent then.
    pub(crate) fn recount_message(
        builder: &FollowUpBuilder,
        request: &Request,
        parent: &ParentTask,
        body: &Node,
        part: &ChordPart,
        after: Option<Duration>,
    ) -> Result<Outgoing> {
        let kwargs = [
            ("group", Json::from_serialize(&part.group)?),
            ("task_id", Json::from_serialize(&part.task_id)?),
            ("group_index", Json::from_serialize(&part.group_index)?),
            ("state", Json::from_serialize(part.state.as_str())?),
            ("result", part.result.clone()),
            ("body", Json::from_serialize(&body.to_wire()?)?),
        ];
        let kwargs = kwargs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let arguments = Arguments::new(Vec::new(), kwargs);
        let mut options = CallOptions::default();
        options.countdown = after;
        options.ignore_result = Some(true);
        options.rare_mut().headers.clone_from(&request.headers.extra);
        builder.publisher.router().fill(CHORD_PART, &arguments, &mut options);
        // The default is the queue of the part. A worker that consumes it has an app that can send the body.
        let queue = options.queue.get_or_insert_with(|| request.delivery_info.queue.clone()).clone();
        let mut call = CallSpec::named(CHORD_PART, arguments);
        call.options = options;
        call.by_name = false;
        let Outgoing { message, eta, .. } = builder.publisher.prepare_for(call, Some(parent.clone()))?.outgoing;
        Ok(Outgoing::to_queue(queue, message).at(eta))
    }
}
