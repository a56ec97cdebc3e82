//! Which servers an address means, who connects, and which vhost is used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use apium_transport::option_value::OptionValue;
use apium_transport::raw_options::RawOptions;
use url::Url;

const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// Celery's default user, with its password.
const GUEST: &str = "guest";

const HOW: &str = "write amqp://[user:password@]host[:port][/vhost] or amqps://…, several servers with `;` between \
                   them, and what is special in a user, password or vhost as %XX";

/// One node, and who connects to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}:**@{self})", self.user)
    }
}

/// The encryption of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The certificates that are trusted beside those of the system (`ca_certs`).
    pub(crate) roots: Option<PathBuf>,
    /// This client's certificate and key (`certfile`, `keyfile`).
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Which servers an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) servers: Vec<Server>,
    pub(crate) vhost: String,
    pub(crate) tls: Option<Tls>,
    /// How long it may take to connect, and how long one operation may take.
    pub(crate) timeout: Duration,
    /// The time between heartbeats in seconds; `None` leaves it to the server, 0 is without.
    pub(crate) heartbeat: Option<u16>,
}

impl Target {
    pub(crate) fn read(address: &Address, options: &DriverOptions, raw: &mut RawOptions) -> Result<Self> {
        let tls = tls(address.scheme(), raw)?;
        let port = if tls.is_some() { TLS_PORT } else { PORT };
        let (mut servers, mut vhost) = (Vec::new(), None);
        for part in address.secret_text().split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (server, named) = server(part, address.scheme(), port).ok_or_else(|| raw.bad_address(HOW))?;
            vhost = vhost.or(named);
            servers.push(server);
        }
        if servers.is_empty() {
            return Err(raw.bad_address("it names no server"));
        }
        let vhost = raw.text("virtual_host")?.or(vhost).filter(|vhost| !vhost.is_empty());
        let timeout = raw.seconds("connection_timeout")?.or(raw.seconds("connect_timeout")?);
        let heartbeat = match raw.take("heartbeat") {
            None | Some(OptionValue::None) => None,
            Some(value) => {
                let seconds = value.count().ok().and_then(|seconds| u16::try_from(seconds).ok());
                Some(seconds.ok_or_else(|| raw.invalid("heartbeat", &value, "a number of seconds up to 65535"))?)
            }
        };
        Ok(Self {
            servers,
            vhost: vhost.unwrap_or_else(|| "/".to_owned()),
            tls,
            timeout: timeout.unwrap_or(options.connect_timeout),
            heartbeat,
        })
    }
}

/// One part of an address: its server, and the vhost if it names one.
fn server(part: &str, scheme: &str, port: u16) -> Option<(Server, Option<String>)> {
    // A list may have its scheme once or for each server.
    let text = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
    // Without a host the default one is meant, which a URL with a login or a port must have.
    let text =
        text.replacen("://:", "://localhost:", usize::from(!text.contains('@'))).replacen("@/", "@localhost/", 1);
    // A fragment means nothing here; what looks like one is a `#` in a password that was not encoded.
    let url = Url::parse(&text).ok().filter(|url| url.fragment().is_none() && url.scheme() == scheme)?;
    let decoded = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    let user = Some(url.username()).filter(|user| !user.is_empty()).and_then(decoded);
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let server = Server {
        host: decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
        port: url.port().unwrap_or(port),
        user: user.unwrap_or_else(|| GUEST.to_owned()),
        password: url.password().and_then(decoded).unwrap_or_else(|| GUEST.to_owned()),
    };
    let vhost = url.path().strip_prefix('/').filter(|path| !path.is_empty()).and_then(decoded);
    Some((server, vhost))
}

fn tls(scheme: &str, raw: &mut RawOptions) -> Result<Option<Tls>> {
    let roots = raw.text("ca_certs")?.map(PathBuf::from);
    let (certificate, key) = (raw.text("certfile")?, raw.text("keyfile")?);
    let forced = raw.flag("ssl")?.unwrap_or(false);
    if !forced && scheme != "amqps" {
        return Ok(None);
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (Some(both), None) => Some((both.clone().into(), both.into())),
        (None, Some(key)) => return Err(raw.invalid("keyfile", &key.into(), "given together with certfile")),
        (None, None) => None,
    };
    Ok(Some(Tls { roots, identity }))
}

#[cfg(test)]
mod tests {
    use apium_transport::clock::Clock;
    use apium_transport::error::ErrorKind;

    use super::*;
    use crate::options::without_meaning::WITHOUT_MEANING;

    fn read(text: &str) -> Result<Target> {
        let address = Address::parse(text)?;
        let options = DriverOptions::new(Clock::system());
        let mut raw = RawOptions::new(&address, &options.extra, WITHOUT_MEANING);
        let target = Target::read(&address, &options, &mut raw)?;
        raw.refuse_unread()?;
        Ok(target)
    }

    fn parts(text: &str) -> (String, String, String, String) {
        let target = read(text).unwrap();
        let server = &target.servers[0];
        (server.to_string(), server.user.clone(), server.password.clone(), target.vhost)
    }

    #[test]
    fn addresses_mean_what_they_mean_to_kombu() {
        for (text, host, user, password, vhost) in [
            ("amqp://", "localhost:5672", "guest", "guest", "/"),
            ("pyamqp://host", "host:5672", "guest", "guest", "/"),
            ("amqp://host/", "host:5672", "guest", "guest", "/"),
            ("amqp://host//", "host:5672", "guest", "guest", "/"),
            ("amqp://host/%2F", "host:5672", "guest", "guest", "/"),
            ("amqp://host/orders", "host:5672", "guest", "guest", "orders"),
            ("amqp://host//orders", "host:5672", "guest", "guest", "/orders"),
            ("amqps://u:p%40%2f+x@host/v%20w", "host:5671", "u", "p@/+x", "v w"),
            ("amqp://u:p@[::1]:99/v", "::1:99", "u", "p", "v"),
            ("amqp://u@host:99", "host:99", "u", "guest", "/"),
        ] {
            let expected = (host.to_owned(), user.to_owned(), password.to_owned(), vhost.to_owned());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    fn shown(target: &Target) -> String {
        target.servers.iter().map(Server::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_names_servers_for_a_failover() {
        let target = read("amqp://u:p@a:1/v;amqp://x:y@b:2").unwrap();
        assert_eq!(shown(&target), "a:1 b:2");
        assert_eq!((target.servers[1].user.as_str(), target.vhost.as_str()), ("x", "v"));
        assert_eq!(shown(&read("amqp://a:1;b").unwrap()), "a:1 b:5672");
    }

    #[test]
    fn options_come_from_the_query() {
        let target = read("amqp://host/v?heartbeat=30&connection_timeout=1.5&confirm_publish=true").unwrap();
        assert_eq!((target.heartbeat, target.timeout), (Some(30), Duration::from_millis(1500)));
        assert_eq!(read("amqp://host").unwrap().heartbeat, None);
        let tls = read("amqps://host?ca_certs=/ca.pem&certfile=/c.pem&keyfile=/k.pem").unwrap().tls.unwrap();
        assert_eq!((tls.roots, tls.identity), (Some("/ca.pem".into()), Some(("/c.pem".into(), "/k.pem".into()))));
    }

    #[test]
    fn what_cannot_be_read_is_named_without_the_password() {
        for (text, part) in [
            ("amqp://u:SECRET@host:99999", "amqp://[user:password@]host"),
            ("amqp://u:SECRET#1@host", "%XX"),
            ("amqp://u:SECRET@host?heartbeat=often", "heartbeat"),
            ("amqp://u:SECRET@host?hartbeat=1", "hartbeat"),
            ("amqps://u:SECRET@host?keyfile=/k", "certfile"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Address, "{text}");
            let shown = format!("{error:#} {error:?}");
            assert!(shown.contains(part) && !shown.contains("SECRET"), "{shown}");
        }
        let target = format!("{:?}", read("amqp://u:SECRET@host").unwrap());
        assert!(!target.contains("SECRET"), "{target}");
    }
}
