//! Any text as an address, as settings, as an instant, and on a terminal.

use apium_app::config::settings::Settings;
use apium_protocol::timestamp;
use apium_protocol::value::printable::printable;
use apium_transport::address::Address;

/// Settings whose values are texts of a form.
const SETTINGS: [&str; 8] = [
    "broker_url",
    "task_annotations",
    "task_routes",
    "task_queues",
    "task_default_rate_limit",
    "task_publish_retry_policy",
    "broker_transport_options",
    "worker_prefetch_multiplier",
];

/// Reads the text as each of them.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        let shown = address.to_string();
        assert!(shown.starts_with(address.scheme()));
        let _ = (address.location(), address.query());
    }
    let _ = timestamp::parse(text);
    let shown = printable(text).to_string();
    assert!(!shown.chars().any(char::is_control) && printable(&shown).to_string() == shown);
    let mut settings = Settings::new();
    if settings.add_toml(text, "fuzz.toml").is_ok() {
        let _ = settings.check();
    }
    for name in SETTINGS {
        let mut settings = Settings::new();
        if settings.set_flag(name, text, "--set").is_ok() {
            let _ = settings.check();
        }
    }
}
