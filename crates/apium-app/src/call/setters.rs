//! The options of a call as methods, the same on everything that can be called.

use apium_protocol::message::signature::Signature as WireSignature;

use crate::error::Result;

/// What can stand in `link` and `link_error`: a signature of either kind.
pub trait IntoWireSignature {
    /// The signature as it travels.
    ///
    /// # Errors
    /// When its arguments cannot be encoded.
    fn into_wire(self) -> Result<WireSignature>;
}

impl IntoWireSignature for WireSignature {
    fn into_wire(self) -> Result<WireSignature> {
        Ok(self)
    }
}

/// The option methods of a type with `fn options_mut(&mut self) -> &mut CallOptions`, `fn fail(&mut self, Error)`,
/// `fn add_link_error(&mut self, WireSignature)`, which knows where links go, and
/// `fn visit(&mut self, &mut dyn StampVisitor, &Stamps, append: bool)`, which stamps all that is in it.
macro_rules! call_options {
    ([$($generics:tt)*], $type:ty) => {
        impl<$($generics)*> $type {
            /// The id, any text (default: a random UUID). A stored SUCCESS of an id that was used before stays as it
            /// is.
            pub fn task_id(mut self, id: impl Into<apium_protocol::message::task_id::TaskId>) -> Self {
                self.options_mut().task_id = Some(id.into());
                self
            }

            /// Not before this long from now; zero is at once. It beats an eta.
            pub fn countdown(mut self, wait: std::time::Duration) -> Self {
                self.options_mut().countdown = Some(wait);
                self
            }

            /// Not before this instant; one that is past is at once.
            pub fn eta(mut self, at: impl Into<crate::options::call_options::When>) -> Self {
                self.options_mut().eta = Some(at.into());
                self
            }

            /// Not to be started after this instant: the task is REVOKED then.
            pub fn expires(mut self, at: impl Into<crate::options::call_options::When>) -> Self {
                self.options_mut().expires = Some(crate::options::call_options::Expires::At(at.into()));
                self
            }

            /// Not to be started later than this long from now.
            pub fn expires_in(mut self, span: std::time::Duration) -> Self {
                self.options_mut().expires = Some(crate::options::call_options::Expires::In(span));
                self
            }

            /// The queue; beats `task_routes` and the task's own.
            pub fn queue(mut self, name: impl AsRef<str>) -> Self {
                self.options_mut().queue = Some(name.as_ref().into());
                self
            }

            /// The exchange.
            pub fn exchange(mut self, name: impl AsRef<str>) -> Self {
                self.options_mut().exchange = Some(name.as_ref().into());
                self
            }

            /// The routing key.
            pub fn routing_key(mut self, key: impl AsRef<str>) -> Self {
                self.options_mut().routing_key = Some(key.as_ref().into());
                self
            }

            /// The priority. Memory, sqlite and RabbitMQ deliver larger ones first, Redis smaller ones.
            pub fn priority(mut self, priority: u8) -> Self {
                self.options_mut().priority = Some(priority);
                self
            }

            /// The serializer, by name. Workers must have it in `accept_content`.
            pub fn serializer(mut self, name: impl Into<String>) -> Self {
                self.options_mut().serializer = Some(name.into().into());
                self
            }

            /// The compression, by name; an empty text is none.
            pub fn compression(mut self, name: impl Into<String>) -> Self {
                self.options_mut().compression = Some(name.into().into());
                self
            }

            /// Hard time limit; zero leaves it to the task.
            pub fn time_limit(mut self, limit: std::time::Duration) -> Self {
                self.options_mut().time_limit = Some(limit.as_secs_f64());
                self
            }

            /// Soft time limit; zero leaves it to the task.
            pub fn soft_time_limit(mut self, limit: std::time::Duration) -> Self {
                self.options_mut().soft_time_limit = Some(limit.as_secs_f64());
                self
            }

            /// Whether no result is stored; `get` returns at once then.
            pub fn ignore_result(mut self, ignore: bool) -> Self {
                self.options_mut().ignore_result = Some(ignore);
                self
            }

            /// Whether the message outlives the broker's restart (default true; Celery: `delivery_mode` 2 and 1).
            pub fn persistent(mut self, persistent: bool) -> Self {
                self.options_mut().delivery_mode = Some(if persistent { 2 } else { 1 });
                self
            }

            /// Whether publishing is tried again when the broker cannot be reached.
            pub fn retry(mut self, retry: bool) -> Self {
                self.options_mut().retry = Some(retry);
                self
            }

            /// How publishing is tried again.
            pub fn retry_policy(mut self, policy: crate::config::retry_policy::RetryPolicy) -> Self {
                self.options_mut().retry_policy = Some(policy);
                self
            }

            /// How long publishing may take in all (default 5 s).
            pub fn publish_timeout(mut self, limit: std::time::Duration) -> Self {
                self.options_mut().publish_timeout = Some(limit);
                self
            }

            /// A header of one's own; the task sees it in its request. One of Celery's names replaces that.
            pub fn header(mut self, name: impl Into<String>, value: impl serde::Serialize) -> Self {
                match apium_protocol::json::text::Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().headers.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// A stamp: a header by which all tasks of a workflow are found. It goes to every task in it and to their
            /// links, so stamp last. One of that name that is there is replaced.
            pub fn stamp(mut self, name: impl Into<String>, value: impl serde::Serialize) -> Self {
                match apium_protocol::json::text::Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut crate::canvas::stamp::FixedStamps, &[(name.into(), value)].into(), false),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// A stamp beside those of that name that are there: they are a list then (Celery: `append_stamps`).
            pub fn append_stamp(mut self, name: impl Into<String>, value: impl serde::Serialize) -> Self {
                match apium_protocol::json::text::Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut crate::canvas::stamp::FixedStamps, &[(name.into(), value)].into(), true),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Asks a visitor for the stamps of every task in it and of their links.
            pub fn stamp_with(mut self, visitor: &mut dyn crate::canvas::stamp::StampVisitor) -> Self {
                self.visit(visitor, &crate::canvas::stamp::Stamps::new(), false);
                self
            }

            /// A message property (`message_id`, `app_id`, …).
            pub fn property(mut self, name: impl Into<String>, value: impl serde::Serialize) -> Self {
                match apium_protocol::json::text::Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().properties.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Another name for logs and monitors; what runs is the task all the same.
            pub fn shadow(mut self, name: impl Into<String>) -> Self {
                self.options_mut().rare_mut().shadow = Some(name.into());
                self
            }

            /// A task to run on failure: of each step of a chain, of each member of a group, of a chord's body. Called
            /// again, one more.
            pub fn link_error(mut self, errback: impl crate::call::setters::IntoWireSignature) -> Self {
                match errback.into_wire() {
                    Ok(errback) => self.add_link_error(errback),
                    Err(error) => self.fail(error),
                }
                self
            }

            /// The same as [`link_error`](Self::link_error).
            pub fn on_error(self, errback: impl crate::call::setters::IntoWireSignature) -> Self {
                self.link_error(errback)
            }

            /// Where an RPC reply goes (default: an id of the app's own).
            pub fn reply_to(mut self, queue: impl AsRef<str>) -> Self {
                self.options_mut().rare_mut().reply_to = Some(queue.as_ref().into());
                self
            }

            /// The first task of the workflow (default: that of the running task, else the own id).
            pub fn root_id(mut self, id: impl Into<apium_protocol::message::task_id::TaskId>) -> Self {
                self.options_mut().rare_mut().root_id = Some(id.into());
                self
            }

            /// The task that sends this one (default: the running task).
            pub fn parent_id(mut self, id: impl Into<apium_protocol::message::task_id::TaskId>) -> Self {
                self.options_mut().rare_mut().parent_id = Some(id.into());
                self
            }

            /// What logs show instead of the positional arguments (secrets, for one).
            pub fn argsrepr(mut self, text: impl Into<String>) -> Self {
                self.options_mut().rare_mut().argsrepr = Some(text.into());
                self
            }

            /// What logs show instead of the keyword arguments.
            pub fn kwargsrepr(mut self, text: impl Into<String>) -> Self {
                self.options_mut().rare_mut().kwargsrepr = Some(text.into());
                self
            }

            /// Whether the call is one of the children of the running task (default true).
            pub fn add_to_parent(mut self, add: bool) -> Self {
                self.options_mut().rare_mut().add_to_parent = Some(add);
                self
            }
        }
    };
}

/// `link` and `on_success` of a type with `fn add_link(&mut self, WireSignature)` whose last parameter is `Out`. Tasks
/// side by side have none: what follows all of them stands behind them.
macro_rules! links {
    ([$($generics:tt)*], $type:ty) => {
        impl<$($generics)*> $type {
            /// A task to run on success, with the result as its first argument: of a chain after its last step, of a
            /// chord after its body. Called again, one more.
            pub fn link(mut self, callback: impl crate::call::setters::IntoWireSignature) -> Self {
                match callback.into_wire() {
                    Ok(callback) => self.add_link(callback),
                    Err(error) => self.fail(error),
                }
                self
            }

            /// The same as [`link`](Self::link), with a check that the callback takes what the task returns.
            pub fn on_success<Next: ?Sized, Last>(self, callback: crate::signature::signature::Signature<Next, Last>) -> Self
            where
                Out: crate::signature::fits::Fits<Next>,
            {
                self.link(callback)
            }
        }
    };
}

pub(crate) use {call_options, links};
