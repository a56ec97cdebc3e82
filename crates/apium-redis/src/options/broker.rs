//! The options of a broker: kombu's `broker_transport_options`, and Apium's own.

use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;

use crate::keys::broker_keys::Keys;
use crate::options::target::Target;
use crate::options::without_meaning::WITHOUT_MEANING;
use apium_transport::raw_options::RawOptions;

/// What becomes of a message with an eta (`eta_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtaStrategy {
    /// It is published as Celery does it; a worker of Apium that receives it delays it in the server (the default).
    Receive,
    /// It is also delayed in the server when it is published. A worker of Apium must run, since Celery's do not promote
    /// it.
    Park,
    /// As in Celery, the worker that receives it keeps it until it is due. Delayed messages are promoted at once.
    Hold,
}

/// In which order queues are read (`queue_order_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueOrder {
    /// After each claim the first queue becomes the last.
    RoundRobin,
    /// As they were given.
    AsGiven,
    /// By name.
    Sorted,
}

/// A broker as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BrokerOptions {
    pub(crate) target: Target,
    pub(crate) keys: Keys,
    pub(crate) eta_strategy: EtaStrategy,
    pub(crate) queue_order: QueueOrder,
    /// A message in flight that nobody has renewed for this time is given to another worker, as in kombu (default 1 h).
    pub(crate) visibility_timeout: Duration,
    /// Whether the server is asked to say when lists change (default true).
    pub(crate) client_tracking: bool,
}

impl BrokerOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut raw = RawOptions::new(address, &options.extra, WITHOUT_MEANING);
        let target = Target::read(address, options, &mut raw)?;
        let keys = Keys::read(&mut raw, &target)?;
        let eta = raw.choice("eta_strategy", "receive, park or hold", |word| match word {
            "receive" => Some(EtaStrategy::Receive),
            "park" => Some(EtaStrategy::Park),
            "hold" => Some(EtaStrategy::Hold),
            _ => None,
        })?;
        let order = raw.choice("queue_order_strategy", "round_robin, priority or sorted", |word| match word {
            "round_robin" => Some(QueueOrder::RoundRobin),
            "priority" => Some(QueueOrder::AsGiven),
            "sorted" => Some(QueueOrder::Sorted),
            _ => None,
        })?;
        let visibility = raw.seconds("visibility_timeout")?.unwrap_or(Duration::from_secs(3600));
        let client_tracking = raw.flag("client_tracking")?.unwrap_or(true);
        raw.refuse_unread()?;
        Ok(Self {
            target,
            keys,
            eta_strategy: eta.unwrap_or(EtaStrategy::Receive),
            queue_order: order.unwrap_or(QueueOrder::RoundRobin),
            visibility_timeout: visibility,
            client_tracking,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use apium_transport::clock::Clock;
    use apium_transport::option_value::OptionValue;

    use super::*;
    use crate::options::target::Discovery;

    fn options(json: &str) -> DriverOptions {
        let mut options = DriverOptions::new(Clock::system());
        options.extra = OptionValue::from_json(json).unwrap().table().unwrap();
        options
    }

    fn read(url: &str, json: &str) -> Result<BrokerOptions> {
        BrokerOptions::read(&Address::parse(url).unwrap(), &options(json))
    }

    #[test]
    fn options_have_the_types_that_celery_gives_them() {
        let json = r#"{
            "visibility_timeout": 43200, "socket_timeout": 1.5, "priority_steps": [5, 0, 5], "fanout_prefix": true,
            "fanout_patterns": false, "virtual_host": 3, "master_name": "main",
            "sentinel_kwargs": {"username": "guard", "password": "it's", "socket_keepalive": true}
        }"#;
        let read = read("sentinel://host", json).unwrap();
        assert_eq!(read.visibility_timeout, Duration::from_secs(43_200));
        assert_eq!((read.target.answer_timeout, read.target.database), (Duration::from_millis(1500), 3));
        assert_eq!(*read.keys.steps, [0, 5]);
        assert_eq!(read.keys.fanout_channel("x", "k"), "/3.x");
        let Discovery::Sentinel { login, .. } = &read.target.discovery else { panic!("{:?}", read.target) };
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("guard"), Some("it's")));
    }

    #[test]
    fn texts_and_values_mean_the_same() {
        for (typed, text) in [
            (r#"{"priority_steps": [0, 5]}"#, r#"{"priority_steps": "0,5"}"#),
            (r#"{"fanout_prefix": false}"#, r#"{"fanout_prefix": "false"}"#),
            (r#"{"fanout_prefix": null}"#, r#"{"fanout_prefix": ""}"#),
            (r#"{"global_keyprefix": 7}"#, r#"{"global_keyprefix": "7"}"#),
            (r#"{"global_keyprefix": null}"#, "{}"),
            (r#"{"ssl": true, "ssl_cert_reqs": null}"#, r#"{"ssl": "yes", "ssl_cert_reqs": "none"}"#),
            (r#"{"ssl": true, "ssl_cert_reqs": 2}"#, r#"{"ssl": 1, "ssl_cert_reqs": "CERT_REQUIRED"}"#),
            (r#"{"visibility_timeout": 0.5}"#, r#"{"visibility_timeout": "0.5"}"#),
        ] {
            let read = |json| format!("{:?}", read("redis://host/1", json).unwrap());
            assert_eq!(read(typed), read(text));
        }
        let steps = |url: &str| read(url, r#"{"priority_steps": [0, 1]}"#).unwrap().keys.steps;
        assert_eq!(*steps("redis://host"), [0, 1]);
        assert_eq!(*steps("redis://host?priority_steps=0,9"), [0, 9], "the query wins");
    }

    #[test]
    fn what_has_no_counterpart_here_may_have_any_type() {
        let json = r#"{"socket_keepalive_options": {"1": 60}, "retry_policy": {"timeout": 5.0}, "max_connections": 5}"#;
        read("redis://host", json).unwrap();
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error_that_shows_no_secret() {
        for (json, wanted) in [
            (r#"{"priority_steps": {"0": "hunter2"}}"#, "priority_steps of redis://host: it is a table and must be"),
            (r#"{"priority_steps": [0, 10]}"#, "it is a list and must be numbers from 0 to 9"),
            (r#"{"priority_steps": 3}"#, "it is 3 and must be numbers from 0 to 9"),
            (r#"{"visibility_timeout": ["hunter2"]}"#, "it is a list and must be a number of seconds above 0"),
            (r#"{"visibility_timeout": true}"#, "it is true and must be a number of seconds above 0"),
            (r#"{"fanout_patterns": 7}"#, "it is 7 and must be true or false"),
            (r#"{"client_tracking": 7}"#, "it is 7 and must be true or false"),
            (r#"{"fanout_prefix": ["hunter2"]}"#, "it is a list and must be a text, true or false"),
            (r#"{"eta_strategy": ["hunter2"]}"#, "it is a list and must be receive, park or hold"),
            (r#"{"global_keyprefix": ["hunter2"]}"#, "it is a list and must be a text"),
            (r#"{"virtual_host": ["hunter2"]}"#, "it is a list and must be the number of a database"),
            (r#"{"sentinel_kwargs": "hunter2"}"#, "sentinel_kwargs of redis://host: it is a text and must be a table"),
            (r#"{"sentinel_kwargs": ["hunter2"]}"#, "it is a list and must be a table"),
            (
                r#"{"sentinel_kwargs": {"password": ["hunter2"]}}"#,
                "sentinel_kwargs.password of redis://host: it is a list and must be a text",
            ),
            (
                r#"{"sentinel_kwargs": {"passwort": "hunter2"}}"#,
                "the option sentinel_kwargs has no entry \"passwort\"; there are username, password",
            ),
        ] {
            let error = read("redis://host", json).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(wanted) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn debug_shows_the_names_of_options_alone() {
        let nested = BTreeMap::from([("password".to_owned(), "hunter2".into())]);
        let options = DriverOptions::new(Clock::system()).option("sentinel_kwargs", nested);
        let text = format!("{options:?} {:?}", options.extra);
        assert!(text.contains("sentinel_kwargs") && !text.contains("hunter2"), "{text}");
    }
}
