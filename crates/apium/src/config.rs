//! Settings: by Celery's names, from `apium.toml`, `APIUM_*` variables and the builder, with the list of all of them.
//!
//! # A table for the program's own settings
//!
//! The table `[app]` of `apium.toml` belongs to the program. [`Settings::app`] reads it with serde, and
//! [`Config::app`] does so once the app is built. `APIUM_APP__SMTP__PORT` wins over `port` of `[app.smtp]`, and so does
//! `--set app.smtp.port=…`. An error names the file, the entry and what is expected. No value is ever printed: an entry
//! may be a secret.
//!
//! ```
//! use apium::prelude::*;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Shop {
//!     currency: String,
//!     smtp: Smtp,
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(default)]                               // what is not given has its default
//! struct Smtp {
//!     host: String,
//!     port: u16,
//! }
//!
//! impl Default for Smtp {
//!     fn default() -> Self {
//!         Self { host: "localhost".into(), port: 25 }
//!     }
//! }
//!
//! async fn app(settings: Settings) -> Result<App, BoxError> {
//!     let shop: Shop = settings.app()?;           // `Option<Shop>` where the table may be missing
//!     Ok(App::builder("shop").config(settings).state(shop).build().await?)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut settings = Settings::new();
//! settings.add_toml(
//!     r#"
//!     broker_url = "memory://"
//!
//!     [app]
//!     currency = "EUR"
//!     smtp = { host = "mail.example" }
//!     "#,
//!     "apium.toml",
//! )?;
//! settings.add_env([("APIUM_APP__SMTP__PORT", "587")])?;
//! let app = app(settings).await?;
//! let shop: Shop = app.config().app()?;
//! assert_eq!((&*shop.currency, &*shop.smtp.host, shop.smtp.port), ("EUR", "mail.example", 587));
//!
//! let mut settings = Settings::new();
//! settings.add_toml("app.currency = 978", "apium.toml")?;
//! let error = settings.app::<Shop>().err().map(|error| error.to_string());
//! let expected = "read app.currency of the file apium.toml: it is a whole number, allowed is a string";
//! assert_eq!(error.as_deref(), Some(expected));
//! # Ok(())
//! # }
//! ```

pub use apium_app::config::annotations::Annotations;
pub use apium_app::config::prefetch::PrefetchMultiplier;
pub use apium_app::config::reference::markdown as reference;
pub use apium_app::config::retry_policy::RetryPolicy;
pub use apium_app::config::route_table::RouteTable;
pub use apium_app::config::settings::Settings;
pub use apium_app::config::table::{Config, SETTINGS, Setting, ShownSetting};
pub use apium_app::config::value::{Origin, Value};
pub use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
