//! Calling tasks: one call and its options, many calls at once, calls by name, eager calls; and below them publishing:
//! routes, layers, and the publisher.

pub use apium_app::app::blocking::Blocking;
pub use apium_app::app::eager_runner::{EagerRun, EagerRunner};
pub use apium_app::builder::RouteTarget;
pub use apium_app::call::batch::Batch;
pub use apium_app::call::by_name::NamedCall;
pub use apium_app::call::call::Call;
pub use apium_app::call::class_calls::TaskCalls;
pub use apium_app::canvas::node::IntoWireSignature;
pub use apium_app::options::call_options::{CallOptions, Expires, RareOptions, When};
pub use apium_app::publish::layer::{PublishLayer, PublishNext};
pub use apium_app::publish::policy::PublishPolicy;
pub use apium_app::publish::prepare::PreparedMessage;
pub use apium_app::publish::producer::Producer;
pub use apium_app::publish::publisher::Publisher;
pub use apium_app::publish::router::{Destination, RouteQuery, Router};
#[doc(no_inline)]
pub use apium_transport::broker::outgoing::Outgoing;
