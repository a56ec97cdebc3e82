//! Settings: one table ([`table`]) with Celery's lower-case names, read in two stages.
//! [`Settings`](crate::config::settings::Settings) are as given, each with its
//! [`Origin`](crate::config::value::Origin); [`Config`](crate::config::table::Config) is checked, typed and immutable.

pub mod annotations;
pub(crate) mod app_table;
pub(crate) mod app_value;
pub mod driver_options;
pub mod prefetch;
pub mod read;
pub mod reference;
pub mod retry_policy;
pub mod route_table;
pub mod settings;
pub mod table;
pub mod topology;
pub mod value;
