//! The options of a call as methods, the same on everything that can be called.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use serde::Serialize;

use crate::call::batch::Batch;
use crate::call::call::Call;
use crate::canvas::node::IntoWireSignature;
use crate::canvas::stamp::{FixedStamps, StampVisitor, Stamps};
use crate::config::retry_policy::RetryPolicy;
use crate::options::call_options::{Expires, When};
use crate::signature::fits::Fits;
use crate::signature::group::Group;
use crate::signature::join::Join;
use crate::signature::signature::Signature;

/// The methods of the table of options. The type has `fn options_mut(&mut self) -> &mut CallOptions`.
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

/// The same for the options that few calls have.
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

/// All methods of a type. It also has `fn fail(&mut self, Error)`, `fn add_link_error(&mut self, WireSignature)`, which
/// knows where links go, and `fn visit(&mut self, &mut dyn StampVisitor, &Stamps, append: bool)`, which stamps all that
/// is in it.
macro_rules! setters {
    ([$($generics:tt)*] $type:ty) => {
        apium_options::options! { call_setter => call_setters [$($generics)*] $type }
        apium_options::options! { rare_setter => rare_setters [$($generics)*] $type }

        impl<$($generics)*> $type {
            /// A header of one's own; the task sees it in its request. One of Celery's names replaces that.
            pub fn header(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().headers.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// A stamp: a header by which all tasks of a workflow are found. It goes to every task in it and to their
            /// links, so stamp last. One of that name that is there is replaced.
            pub fn stamp(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut FixedStamps, &[(name.into(), value)].into(), false),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// A stamp beside those of that name that are there: they are a list then (Celery: `append_stamps`).
            pub fn append_stamp(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(value) => self.visit(&mut FixedStamps, &[(name.into(), value)].into(), true),
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// Asks a visitor for the stamps of every task in it and of their links.
            pub fn stamp_with(mut self, visitor: &mut dyn StampVisitor) -> Self {
                self.visit(visitor, &Stamps::new(), false);
                self
            }

            /// A message property (`message_id`, `app_id`, …).
            pub fn property(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
                match Json::from_serialize(&value) {
                    Ok(json) => {
                        self.options_mut().rare_mut().properties.insert(name.into(), json);
                    }
                    Err(error) => self.fail(error.into()),
                }
                self
            }

            /// A task to run on failure: of each step of a chain, of each member of a group, of a chord's body. Called
            /// again, one more.
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

/// `link` and `on_success` of a type with `fn add_link(&mut self, WireSignature)` whose last parameter is `Out`. Tasks
/// side by side have none: what follows all of them stands behind them.
macro_rules! links {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> $type {
            /// A task to run on success, with the result as its first argument: of a chain after its last step, of a
            /// chord after its body. Called again, one more.
            pub fn link(mut self, callback: impl IntoWireSignature) -> Self {
                match callback.into_wire() {
                    Ok(callback) => self.add_link(callback),
                    Err(error) => self.fail(error),
                }
                self
            }

            /// The same as [`link`](Self::link), with a check that the callback takes what the task returns.
            pub fn on_success<Next: ?Sized, Last>(self, callback: Signature<Next, Last>) -> Self
            where
                Out: Fits<Next>,
            {
                self.link(callback)
            }
        }
    };
}

setters!([Out] Call<Out>);
links!([Out] Call<Out>);
setters!([Out] Batch<Out>);
links!([Out] Batch<Out>);
setters!([In: ?Sized, Out] Signature<In, Out>);
links!([In: ?Sized, Out] Signature<In, Out>);
setters!([In: ?Sized, Out] Group<In, Out>);
setters!([In: ?Sized, Out] Join<In, Out>);
