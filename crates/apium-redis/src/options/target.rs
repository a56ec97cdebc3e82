//! Which server an address means: one of a list, the one that a sentinel names, or the cluster node that has our slot.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::option_value::OptionValue;
use url::Url;

use apium_transport::raw_options::RawOptions;

/// What is said of an encrypted address without the feature `tls`.
pub(crate) const NO_TLS: &str =
    "connect with TLS: this build has none; turn on the feature redis-tls of the crate apium";

/// The schemes of this driver's addresses.
pub(crate) const SCHEMES: &[&str] =
    &["redis", "rediss", "redis+socket", "sentinel", "redis+cluster", "rediss+cluster", "valkey", "valkeys"];

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Who may connect.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// How the server is found that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// It is the first of the addresses that answers; the others are for a failover.
    Direct,
    /// The addresses are sentinels, which name the master.
    Sentinel { master: String, login: Login },
    /// The addresses are nodes of a cluster; it is the one that has the slot of this hash tag.
    Cluster { tag: String },
}

/// The encryption of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Whether the server's certificate is checked (`ssl_cert_reqs`).
    pub(crate) checked: bool,
    /// The certificates that are trusted (`ssl_ca_certs`), or `None` for those of the system.
    pub(crate) roots: Option<PathBuf>,
    /// This client's certificate and key (`ssl_certfile`, `ssl_keyfile`).
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Which server an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) servers: Vec<(ServerAddress, Login)>,
    pub(crate) database: i64,
    pub(crate) discovery: Discovery,
    pub(crate) tls: Option<Tls>,
    /// How long it may take to connect.
    pub(crate) connect_timeout: Duration,
    /// How long a reply may take before the connection counts as broken.
    pub(crate) answer_timeout: Duration,
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.password.is_some() { "Login(**)" } else { "Login" })
    }
}

impl Target {
    pub(crate) fn read(address: &Address, options: &DriverOptions, raw: &mut RawOptions) -> Result<Self> {
        let scheme = address.scheme();
        let mut servers = Vec::new();
        let mut database = None;
        for part in address.secret_text().split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (server, login, path) = server_address(part, scheme).ok_or_else(|| raw.bad_address(HOW))?;
            if let Some(path) = path {
                let number = path.parse::<i64>().ok().filter(|number| *number >= 0);
                let why = "the path is the number of a database, such as /0";
                database = Some(number.ok_or_else(|| raw.bad_address(why))?);
            }
            servers.push((server, login));
        }
        if servers.is_empty() {
            return Err(raw.bad_address("it names no server"));
        }
        for name in ["db", "virtual_host"] {
            let Some(value) = raw.take(name) else { continue };
            let text = value.text().unwrap_or_default();
            let number = text.trim_start_matches('/').parse::<i64>().ok().filter(|number| *number >= 0);
            database = Some(number.ok_or_else(|| raw.invalid(name, &value, "the number of a database"))?);
        }
        let discovery = discovery(scheme, raw)?;
        if matches!(discovery, Discovery::Cluster { .. }) && database.is_some_and(|number| number != 0) {
            return Err(raw.bad_address("a cluster has one database only, with the number 0"));
        }
        let tls = tls(scheme, raw)?;
        let answer_timeout = raw.seconds("socket_timeout")?.unwrap_or(Duration::from_secs(5));
        Ok(Self {
            servers,
            database: database.unwrap_or(0),
            discovery,
            tls,
            connect_timeout: options.connect_timeout,
            answer_timeout,
        })
    }

    /// Refuses what only a build with TLS can do.
    pub(crate) fn check_build(&self) -> Result<()> {
        match self.tls.is_some() && !cfg!(feature = "tls") {
            true => Err(Error::new(ErrorKind::Address, NO_TLS)),
            false => Ok(()),
        }
    }

    /// How long it may take to connect to one server and log in. All servers of the list, and a sentinel or node that
    /// is asked first, can be tried within the time for one reply, so that a silent server does not keep us from the
    /// next one.
    pub(crate) fn handshake_timeout(&self) -> Duration {
        let asked_first = u32::from(self.discovery != Discovery::Direct);
        let steps = u32::try_from(self.servers.len()).unwrap_or(u32::MAX).saturating_add(asked_first);
        self.connect_timeout.min(self.answer_timeout.mul_f64(0.8) / steps.max(1))
    }

    /// Whether two targets are one store.
    pub(crate) fn is_same_store(&self, other: &Self) -> bool {
        let servers = |target: &Self| target.servers.iter().map(|(server, _)| server.clone()).collect::<Vec<_>>();
        let found = |target: &Self| match &target.discovery {
            Discovery::Direct => String::new(),
            Discovery::Sentinel { master, .. } => master.clone(),
            Discovery::Cluster { tag } => format!("{{{tag}}}"),
        };
        self.database == other.database && servers(self) == servers(other) && found(self) == found(other)
    }
}

const HOW: &str = "write redis://[user:password@]host[:port][/database], rediss://…, redis+socket:///path, \
                   sentinel://host:port;sentinel://host:port or redis+cluster://host:port";

/// One part of an address: its server, the login, and the path after it.
fn server_address(part: &str, scheme: &str) -> Option<(ServerAddress, Login, Option<String>)> {
    // A list may have its scheme once or for each server.
    let mut text = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
    if text.starts_with("redis+socket:") {
        // A URL cannot have a login without a host, and a socket has no host.
        text = text.replacen("@/", "@socket/", 1);
    }
    // A fragment means nothing here; what looks like one is a `#` in a password that was not encoded.
    let url = Url::parse(&text).ok().filter(|url| url.fragment().is_none())?;
    let decoded = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    let user = Some(url.username()).filter(|user| !user.is_empty()).and_then(decoded);
    let login = Login { user, password: url.password().and_then(decoded) };
    if url.scheme() == "redis+socket" {
        let path = decoded(url.path()).filter(|path| path.len() > 1)?;
        return Some((ServerAddress::Unix(path.into()), login, None));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(if url.scheme() == "sentinel" { SENTINEL_PORT } else { PORT });
    let path = url.path().trim_matches('/');
    let path = (!path.is_empty()).then(|| path.to_owned());
    Some((ServerAddress::Tcp { host, port }, login, path))
}

fn discovery(scheme: &str, raw: &mut RawOptions) -> Result<Discovery> {
    let master = raw.text("master_name")?;
    let [user, password] = raw.texts("sentinel_kwargs", ["username", "password"])?.unwrap_or_default();
    let tag = raw.text("hash_tag")?;
    match scheme {
        "sentinel" => {
            let master = master.ok_or_else(|| raw.bad_address("sentinels need the option master_name"))?;
            Ok(Discovery::Sentinel { master, login: Login { user, password } })
        }
        "redis+cluster" | "rediss+cluster" => Ok(Discovery::Cluster { tag: tag.unwrap_or_else(|| "apium".to_owned()) }),
        _ => Ok(Discovery::Direct),
    }
}

fn tls(scheme: &str, raw: &mut RawOptions) -> Result<Option<Tls>> {
    let wanted = raw.take("ssl_cert_reqs");
    let roots = raw.text("ssl_ca_certs")?.map(PathBuf::from);
    let (certificate, key) = (raw.text("ssl_certfile")?, raw.text("ssl_keyfile")?);
    let forced = raw.flag("ssl")?.unwrap_or(false);
    if !forced && !matches!(scheme, "rediss" | "rediss+cluster" | "valkeys") {
        return Ok(None);
    }
    let checked = match &wanted {
        None => true,
        // Python's `None`, as redis-py takes it: the certificate is not checked.
        Some(OptionValue::None) => false,
        Some(value) => match value.text().unwrap_or_default().to_ascii_lowercase().as_str() {
            "required" | "cert_required" | "2" => true,
            "none" | "cert_none" | "0" => false,
            _ => return Err(raw.invalid("ssl_cert_reqs", value, "required or none")),
        },
    };
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (Some(both), None) => Some((both.clone().into(), both.into())),
        (None, Some(key)) => {
            return Err(raw.invalid("ssl_keyfile", &key.into(), "given together with ssl_certfile"));
        }
        (None, None) => None,
    };
    Ok(Some(Tls { checked, roots, identity }))
}
