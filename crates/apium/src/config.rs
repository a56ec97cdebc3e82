//! Settings: by Celery's names, from `apium.toml`, `APIUM_*` variables and the builder, with the list of all of them.

pub use apium_app::config::annotations::Annotations;
pub use apium_app::config::prefetch::PrefetchMultiplier;
pub use apium_app::config::reference::markdown as reference;
pub use apium_app::config::retry_policy::RetryPolicy;
pub use apium_app::config::route_table::RouteTable;
pub use apium_app::config::settings::Settings;
pub use apium_app::config::table::{Config, SETTINGS, Setting, ShownSetting};
pub use apium_app::config::value::{Origin, Value};
pub use apium_transport::broker::topology::{ExchangeType, Queue, Topology};
