//! Calling tasks: one call and its options, many calls at once, calls by name, eager calls; and below them publishing:
//! routes, layers, and the publisher.
//!
//! # Layers
//!
//! A [`PublishLayer`] sees every message of a task before it is sent, wherever it is made: in a program, in a task, or
//! in the worker because a run ended. So what it adds reaches a whole workflow:
//!
//! ```
//! use apium::call::{Outgoing, PublishLayer};
//! use apium::prelude::*;
//! use apium::task::Request;
//!
//! #[task(name = "layers.add")]
//! async fn add(x: i64, y: i64) -> TaskResult<i64> {
//!     Ok(x + y)
//! }
//!
//! /// Sends a tenant along, from each task to those that it leads to.
//! struct Tenant;
//!
//! impl PublishLayer for Tenant {
//!     fn before_publish(&self, message: &mut Outgoing, parent: Option<&Request>) -> Result<(), BoxError> {
//!         let inherited = parent.and_then(|parent| parent.headers.extra.get("tenant"));
//!         let headers = &mut message.message.headers.extra;
//!         if let Some(tenant) = inherited {
//!             headers.insert("tenant".into(), tenant.clone());
//!         }
//!         match headers.contains_key("tenant") {
//!             true => Ok(()),
//!             false => Err("say for which tenant".into()), // refuses the message
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::test().with(|app| app.layer(Tenant)).build().await?;
//! assert!(add::delay(1, 1).send(&app).await.is_err());
//! let chain = add::s(1, 1).header("tenant", "acme") | add::p(2) | add::p(3);
//! let chain = chain.send(&app).await?;
//! app.drain().await;
//! assert_eq!(chain.get().await?, 7);
//! assert!(app.sent::<add>().iter().all(|sent| sent.headers()["tenant"].as_str() == "\"acme\""));
//! # Ok(())
//! # }
//! ```

pub use apium_app::app::blocking::Blocking;
pub use apium_app::app::eager_runner::{EagerRun, EagerRunner};
pub use apium_app::builder::RouteTarget;
pub use apium_app::call::batch::Batch;
pub use apium_app::call::by_name::NamedCall;
pub use apium_app::call::call::Call;
pub use apium_app::call::class_calls::TaskCalls;
pub use apium_app::canvas::node::IntoWireSignature;
pub use apium_app::observe::app_observer::AppObserver;
pub use apium_app::options::call_options::{CallOptions, Expires, RareOptions, When};
pub use apium_app::options::priority::Priority;
pub use apium_app::publish::layer::{PublishLayer, PublishNext};
pub use apium_app::publish::policy::PublishPolicy;
pub use apium_app::publish::prepare::PreparedMessage;
pub use apium_app::publish::producer::Producer;
pub use apium_app::publish::publisher::Publisher;
pub use apium_app::publish::router::{Destination, RouteQuery, Router};
#[doc(no_inline)]
pub use apium_transport::broker::outgoing::Outgoing;
