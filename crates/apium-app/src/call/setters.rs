//! The options of a call as methods. Calls, batches, signatures, groups and joins have the same ones.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use serde::Serialize;

use crate::call::batch::Batch;
use crate::call::call::Call;
use crate::canvas::node::{IntoWireSignature, Node, TaskNode};
use crate::canvas::stamp::{FixedStamps, StampVisitor, Stamps};
use crate::config::retry_policy::RetryPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::{Expires, When};
use crate::options::priority::Priority;
use crate::signature::fits::{Anything, Fits};
use crate::signature::group::Group;
use crate::signature::join::Join;
use crate::signature::signature::Signature;

/// One method for each option of the table in `apium-options` that sets a field of `CallOptions`. The type must have
/// `fn options_mut(&mut self) -> &mut CallOptions`.
macro_rules! call_setters {
    ([$($generics:tt)*] $type:ty {
        $($name:ident [$($doc:tt)+] $setter:ident($arg:ident: $arg_type:ty) ($value:expr);)+
    }) => {
        impl<$($generics)*> $type {
            $(
                #[doc = concat!($($doc)+)]
                pub fn $setter(mut self, $arg: $arg_type) -> Self {
                    self.options_mut().$name = Some($value);
                    self
                }
            )+
        }
    };
}

/// One method for each option of the table that sets a field of `RareOptions`, which few calls have.
macro_rules! rare_setters {
    ([$($generics:tt)*] $type:ty {
        $($name:ident [$($doc:tt)+] $setter:ident($arg:ident: $arg_type:ty) ($value:expr);)+
    }) => {
        impl<$($generics)*> $type {
            $(
                #[doc = concat!($($doc)+)]
                pub fn $setter(mut self, $arg: $arg_type) -> Self {
                    self.options_mut().rare_mut().$name = Some($value);
                    self
                }
            )+
        }
    };
}

/// All methods that set options, but for `link`. The type must also have `fn fail(&mut self, Error)`, which records an
/// error for when it is sent, `fn add_link_error(&mut self, WireSignature)`, which adds an errback to the right tasks,
/// `fn visit(&mut self, &mut dyn StampVisitor, &Stamps, append: bool)`, which stamps all tasks in it, and
/// `fn change_tasks(&mut self, &mut TaskChange<'_>) -> Result<()>`, which changes them.
macro_rules! setters {
    ([$($generics:tt)*] $type:ty) => {
        apium_options::options! { call_setter => call_setters [$($generics)*] $type }
        apium_options::options! { rare_setter => rare_setters [$($generics)*] $type }

        impl<$($generics)*> $type {
            /// It is delivered before all others, whichever numbers the broker has for that: 0 on Redis, 255 elsewhere.
            /// The number is chosen when the message is made.
            pub fn urgent(mut self) -> Self {
                self.options_mut().priority = Some(Priority::Urgent);
                self
            }

            /// It is delivered after all others, whichever numbers the broker has for that: 9 on Redis, 0 elsewhere.
            ///
            /// Memory and SQLite deliver calls without a priority between the urgent ones and those of the background.
            /// On Redis such a call has 0, as in Celery, and is with the urgent ones; with `task_default_priority = 5`
            /// it is in the middle there too.
            pub fn background(mut self) -> Self {
                self.options_mut().priority = Some(Priority::Background);
                self
            }

            /// Changes every task in it, at every depth: the steps of chains, the members of groups, the header and the
            /// body of chords. Callbacks and errbacks are not changed, nor what is added later.
            ///
            /// ```
            /// # use apium_app::signature::signature::Signature;
            /// # fn sends(album: Signature<(), i64>) {
            /// let album = album.each(|task| task.queue("images").expires_in(std::time::Duration::from_secs(600)));
            /// # }
            /// ```
            ///
            /// Options of a workflow itself replace those of its first tasks when it is sent.
            pub fn each(
                mut self,
                mut change: impl FnMut(Signature<Anything, Json>) -> Signature<Anything, Json>,
            ) -> Self {
                if let Err(error) = self.change_tasks(&mut |task| changed(task, &mut change)) {
                    self.fail(error);
                }
                self
            }

            /// Adds a header to the message. The task finds it in its request. A name of Celery's protocol replaces
            /// that header.
            pub fn header(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().headers.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Adds a stamp: a header on every task of a workflow and on their links (Celery: `stamp`). It replaces a
            /// stamp of the same name. Tasks that are added later do not get it, so stamp last.
            pub fn stamp(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut FixedStamps, &[(name.into(), value)].into(), false),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Adds a stamp, as [`stamp`](Self::stamp), and keeps those of the same name: together they are a list
            /// (Celery: `append_stamps`).
            pub fn append_stamp(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut FixedStamps, &[(name.into(), value)].into(), true),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Adds the stamps that a visitor returns for each task in it and for their links (Celery:
            /// `StampingVisitor`).
            pub fn stamp_with(mut self, visitor: &mut dyn StampVisitor) -> Self {
                self.visit(visitor, &Stamps::new(), false);
                self
            }

            /// Sets a property of the message (`message_id`, `app_id`, …).
            pub fn property(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().properties.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Adds an errback: a task that runs on failure. A chain gives it to each of its tasks, a group to each
            /// member, a chord to its body.
            pub fn link_error(mut self, errback: impl IntoWireSignature) -> Self {
                match errback.into_wire() {
                    Ok(errback) => self.add_link_error(errback),
                    Err(error) => self.fail(error),
                }
                self
            }

            /// The same as [`link_error`](Self::link_error).
            pub fn on_error(self, errback: impl IntoWireSignature) -> Self {
                self.link_error(errback)
            }
        }
    };
}

/// `link` and `on_success`, for a type with `fn add_link(&mut self, WireSignature)` and the type parameter `Out`.
/// Groups and joins do not have them: what follows all members is joined to them with `|`.
macro_rules! links {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> $type {
            /// Adds a callback: a task that runs on success, with the return value as its first argument. It follows
            /// the last task of a chain, and the body of a chord.
            pub fn link(mut self, callback: impl IntoWireSignature) -> Self {
                match callback.into_wire() {
                    Ok(callback) => self.add_link(callback),
                    Err(error) => self.fail(error),
                }
                self
            }

            /// As [`link`](Self::link); the compiler checks that the callback takes what the task returns.
            pub fn on_success<Next: ?Sized, Last>(self, callback: Signature<Next, Last>) -> Self
            where
                Out: Fits<Next>,
            {
                self.link(callback)
            }
        }
    };
}

/// A task as a function of [`each`](Signature::each) returns it.
fn changed(
    task: TaskNode,
    change: &mut impl FnMut(Signature<Anything, Json>) -> Signature<Anything, Json>,
) -> Result<TaskNode> {
    let name = task.call.task.clone();
    match change(Signature::of_node(Node::Task(task))).into_node()? {
        Node::Task(task) => Ok(task),
        _ => {
            let text = format!("change each task: what is returned for {name} is a workflow, and must be a task");
            Err(Error::new(ErrorKind::Call, text))
        }
    }
}

setters!([Out] Call<Out>);
links!([Out] Call<Out>);
setters!([Out] Batch<Out>);
links!([Out] Batch<Out>);
setters!([In: ?Sized, Out] Signature<In, Out>);
links!([In: ?Sized, Out] Signature<In, Out>);
setters!([In: ?Sized, Out] Group<In, Out>);
setters!([In: ?Sized, Out] Join<In, Out>);
