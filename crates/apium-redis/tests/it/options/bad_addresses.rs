//! An invalid address or option is one clear error before anything is connected, and shows no secret.

use apium_redis::RedisBackend;
use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, ErrorKind};

use crate::brokers::{open, options};

/// The error of a broker, which a result backend has too if it has the option.
fn refused(url: &str, pairs: &[(&str, &str)]) -> Error {
    let error = open(url, pairs).map(drop).expect_err(url);
    assert_eq!(error.kind(), ErrorKind::Address, "{error}");
    error
}

#[test]
fn an_option_that_is_wrong_is_named_with_what_it_must_be() {
    for (name, value, wanted) in [
        ("visibility_timeout", "soon", "a number of seconds above 0"),
        ("visibility_timeout", "0", "a number of seconds above 0"),
        ("visibility_timeout", "-1", "a number of seconds above 0"),
        ("visibility_timeout", "nan", "a number of seconds above 0"),
        ("visibility_timeout", "1e300", "a number of seconds above 0"),
        ("socket_timeout", "never", "a number of seconds above 0"),
        ("priority_steps", "0,10", "numbers from 0 to 9"),
        ("priority_steps", "", "numbers from 0 to 9"),
        ("queue_order_strategy", "random", "round_robin, priority or sorted"),
        ("eta_strategy", "drop", "receive, park or hold"),
        ("fanout_patterns", "perhaps", "true or false"),
        ("virtual_host", "zero", "the number of a database"),
        ("virtual_host", "-1", "the number of a database"),
        ("db", "zero", "the number of a database"),
        ("ssl", "perhaps", "true or false"),
    ] {
        let error = refused("redis://host", &[(name, value)]);
        let text = error.to_string();
        assert!(text.starts_with(&format!("read the option {name} of redis://host: it is {value:?}")), "{text}");
        assert!(text.contains(wanted), "{text}");
        // The same in the query, which wins.
        let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        assert!(refused(&format!("redis://host?{query}"), &[(name, "1")]).to_string().contains(wanted));
    }
    for (name, value) in [("ssl_cert_reqs", "maybe"), ("ssl_keyfile", "key.pem")] {
        let text = refused("rediss://host", &[(name, value)]).to_string();
        assert!(text.contains(name), "{text}");
    }
    let text =
        format!("{:#}", refused("sentinel://host", &[("master_name", "m"), ("sentinel_kwargs", "password: hunter2")]));
    assert!(text.contains("sentinel_kwargs") && !text.contains("hunter2"), "{text}");
}

#[test]
fn an_option_that_is_not_known_is_named_with_those_that_are() {
    for url in ["redis://host", "rediss://host", "redis+cluster://host", "sentinel://host?master_name=m"] {
        let text = refused(url, &[("visibilty_timeout", "1")]).to_string();
        assert!(text.contains("\"visibilty_timeout\"") && text.ends_with(", visibility_timeout"), "{text}");
        let opened = RedisBackend::open(Address::parse(url).unwrap(), &options(&[("eta_strategy", "park")]));
        let text = opened.unwrap_err().to_string();
        assert!(text.contains("\"eta_strategy\"") && text.contains("global_keyprefix"), "{text}");
    }
}

#[test]
fn what_kombu_alone_needs_is_accepted() {
    let kombus = [("max_connections", "10"), ("socket_keepalive", "true"), ("health_check_interval", "25")];
    open("redis://host", &kombus).unwrap();
    RedisBackend::open(Address::parse("redis://host").unwrap(), &options(&kombus)).unwrap();
}

#[test]
fn an_address_that_cannot_be_read_says_how_to_write_one() {
    for (url, wanted) in [
        ("redis://host:port", "write redis://"),
        ("redis://host:70000", "write redis://"),
        ("redis://[::1", "write redis://"),
        ("redis+socket://", "write redis://"),
        ("redis://host/zero", "the path is the number of a database"),
        ("redis://host/-1", "the path is the number of a database"),
        ("redis://host/0/1", "the path is the number of a database"),
        ("sentinel://host:26379", "the option master_name"),
        ("redis+cluster://host/3", "database"),
    ] {
        let text = refused(url, &[]).to_string();
        assert!(text.contains(wanted), "{url}: {text}");
        let scheme = url.split_once("://").unwrap().0;
        assert!(text.contains(&format!("{scheme}://")), "{url}: {text}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    for url in [
        "redis://user:hunter2@host:port",
        "redis://:hunter2@host/zero",
        "redis://:hunter2@host?unknown=1",
        "redis://:hunter2@host?visibility_timeout=x",
        "redis://user:1?hunter2@host",
        "redis://user:1?hunter2=1&hunter2@host",
        "redis://user:1?socket_timeout=hunter2@host",
        "redis://user:1?virtual_host=hunter2@host",
        "redis://user:1/hunter2@host",
        "redis://user:1#hunter2@host/zero",
        "redis://user:a;hunter2@host/zero",
        "redis://:hunter2@a;redis://:hunter2@b/zero",
        "redis://host?password=hunter2",
        "redis+socket://:hunter2@",
        "sentinel://:hunter2@host:1",
        "sentinel://:hunter2@host:1?master_name=m&sentinel_kwargs={'password': 'hunter2'",
        "redis+cluster://:hunter2@host/3",
        "rediss://:hunter2@host?ssl_cert_reqs=x",
    ] {
        let error = refused(url, &[]);
        let (text, debug) = (format!("{error:#}"), format!("{error:?}"));
        assert!(!text.contains("hunter2") && !debug.contains("hunter2"), "{url}: {text}");
    }
}

#[test]
fn nothing_that_is_open_shows_a_secret() {
    for (url, pairs) in [
        ("redis://user:hunter2@host/1", &[][..]),
        ("redis://:hunter2@a;redis://:hunter2@b", &[]),
        ("sentinel://:hunter2@host:1", &[("master_name", "m"), ("sentinel_kwargs", "{'password': 'hunter2'}")]),
        ("redis+cluster://:hunter2@host", &[]),
        ("redis+socket://:hunter2@/tmp/x.sock", &[]),
    ] {
        let broker = open(url, pairs).unwrap();
        let backend = RedisBackend::open(Address::parse(url).unwrap(), &options(pairs)).unwrap();
        let driver_options: DriverOptions = options(pairs);
        for debug in
            [format!("{broker:?}"), format!("{backend:?}"), format!("{broker:#?}"), format!("{driver_options:?}")]
        {
            assert!(!debug.contains("hunter2"), "{url}: {debug}");
        }
    }
}
