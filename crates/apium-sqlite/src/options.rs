//! The options of a store, read from an address of the form `sqlite:///path?option=value`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::{Error, ErrorKind, Result};

/// The scheme of the addresses.
pub(crate) const SCHEME: &str = "sqlite";

/// When a commit is flushed to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Synchronous {
    /// After every commit that publishes, settles or stores, before it is answered (the default). Nothing is lost when
    /// the power fails.
    Full,
    /// When SQLite moves its log into the file. The last commits may be lost when the power fails, never when a process
    /// dies.
    Normal,
}

/// The options of one store.
#[derive(Debug, Clone)]
pub(crate) struct FileOptions {
    /// The database file, with symbolic links resolved as far as the path exists.
    pub(crate) path: PathBuf,
    pub(crate) synchronous: Synchronous,
    /// How long to wait for the transaction of another process.
    pub(crate) busy_timeout: Duration,
}

impl FileOptions {
    /// Reads the address. `synchronous` may also be one of the transport options; the address goes first.
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let path = path_of(address)?;
        let mut read =
            Self { path: resolve(&path), synchronous: Synchronous::Full, busy_timeout: options.connect_timeout };
        if let Some(value) = options.extra.get("synchronous") {
            let word = value.text().map_err(|wrong| wrong.error("synchronous", address))?;
            read.synchronous = synchronous(address, &word)?;
        }
        for option in address.query().unwrap_or_default().split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "synchronous" => read.synchronous = synchronous(address, value)?,
                _ => {
                    return Err(invalid(
                        address,
                        &format!("it has no option {name:?}; the only one is synchronous=full|normal"),
                    ));
                }
            }
        }
        Ok(read)
    }
}

fn invalid(address: &Address, why: &str) -> Error {
    Error::new(ErrorKind::Address, format!("read the address {address}: {why}"))
}

fn synchronous(address: &Address, value: &str) -> Result<Synchronous> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        _ => Err(invalid(address, &format!("synchronous is full or normal, not {value:?}"))),
    }
}

fn path_of(address: &Address) -> Result<PathBuf> {
    let text = percent_decoded(address.location());
    let text = if cfg!(windows) { text.trim_start_matches('/') } else { text.as_str() };
    if let Some(why) = what_is_meant(text) {
        return Err(invalid(address, &why));
    }
    if text.contains('\0') {
        return Err(invalid(address, "the path holds a zero byte"));
    }
    Ok(PathBuf::from(text))
}

/// What is meant by a path that cannot be used, and how to write that; `None` when it can.
fn what_is_meant(text: &str) -> Option<String> {
    const ABSOLUTE: &str = "write sqlite:/// and the absolute path of a file: sqlite:///var/lib/app/queue.db is \
                            /var/lib/app/queue.db";
    let inner = text.strip_prefix('/').unwrap_or(text);
    if inner.starts_with(":memory:") {
        let why = "a SQLite database in memory is seen by one connection alone; write memory:// for a queue in this \
                   process, or the path of a file";
        return Some(why.to_owned());
    }
    if text.is_empty() || inner.is_empty() {
        return Some(format!("it names no file; {ABSOLUTE}"));
    }
    if text.ends_with('/') {
        return Some(format!("it names a folder; {ABSOLUTE}"));
    }
    if let Some(below_home) = inner.strip_prefix("~/") {
        let home = std::env::home_dir().map_or_else(|| "/home/you".into(), |home| home.display().to_string());
        return Some(format!(
            "~ has no meaning here; {ABSOLUTE}, and {home}/{below_home} is sqlite://{home}/{below_home}"
        ));
    }
    let starts_with_dots = inner.starts_with("./") || inner.starts_with("../");
    if starts_with_dots || !Path::new(text).is_absolute() {
        let folder =
            std::env::current_dir().map_or_else(|_| "/the/folder".into(), |folder| folder.display().to_string());
        let name = inner.trim_start_matches("./");
        return Some(format!(
            "the path is relative, and processes that share the file may run in other folders; {ABSOLUTE}, and {name} in \
             this folder is sqlite://{folder}/{name}"
        ));
    }
    None
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The path with symbolic links resolved, by which two processes see that they open the same file.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(resolved) = path.canonicalize() {
        return resolved;
    }
    match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_transport::address::Address;
    use apium_transport::clock::Clock;
    use apium_transport::driver::DriverOptions;
    use apium_transport::error::ErrorKind;
    use apium_transport::option_value::OptionValue;

    use super::{FileOptions, Synchronous};

    fn read(address: &str) -> Result<FileOptions, apium_transport::error::Error> {
        FileOptions::read(&Address::parse(address).unwrap(), &DriverOptions::new(Clock::system()))
    }

    #[test]
    fn three_slashes_and_an_absolute_path() {
        let options = read("sqlite:///nowhere/q%20r.db").unwrap();
        assert_eq!(options.path.to_str(), Some("/nowhere/q r.db"));
        assert_eq!(options.synchronous, Synchronous::Full);
        assert_eq!(options.busy_timeout, Duration::from_secs(4));
        assert_eq!(read("sqlite:///q.db?synchronous=normal").unwrap().synchronous, Synchronous::Normal);
    }

    #[test]
    fn what_is_no_absolute_path_or_option_is_refused_by_name() {
        for address in ["sqlite://", "sqlite", "sqlite://q.db", "sqlite:///", "sqlite:///var/"] {
            let error = read(address).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Address, "{address}");
            assert!(error.to_string().contains("absolute path"), "{error}");
        }
        let error = read("sqlite:///q%00.db").unwrap_err();
        assert!(error.to_string().contains("zero byte"), "{error}");
        let error = read("sqlite:///q.db?mode=ro").unwrap_err();
        assert!(error.to_string().contains("\"mode\""), "{error}");
        assert!(read("sqlite:///q.db?synchronous=off").is_err());
    }

    #[test]
    fn an_address_that_means_something_else_is_told_what() {
        let here = std::env::current_dir().unwrap();
        let folder = here.display();
        for (address, meant) in [
            ("sqlite:///:memory:", "memory:// for a queue in this process".to_owned()),
            ("sqlite://:memory:", "memory:// for a queue in this process".to_owned()),
            ("sqlite:///:memory:?synchronous=normal", "memory:// for a queue in this process".to_owned()),
            ("sqlite://queue.db", format!("queue.db in this folder is sqlite://{folder}/queue.db")),
            ("sqlite://./data/queue.db", format!("sqlite://{folder}/data/queue.db")),
            ("sqlite:///./queue.db", format!("sqlite://{folder}/queue.db")),
            ("sqlite:///../queue.db", format!("sqlite://{folder}/../queue.db")),
            ("sqlite:///~/queue.db", "/queue.db is sqlite:///".to_owned()),
            ("sqlite:///var/lib/", "it names a folder".to_owned()),
            ("sqlite:///", "it names no file".to_owned()),
        ] {
            let error = read(address).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Address, "{address}");
            assert!(error.to_string().contains(&meant), "{address}: {error}");
        }
        // A path that SQLAlchemy writes with four slashes.
        assert_eq!(read("sqlite:////nowhere/q.db").unwrap().path.to_str(), Some("//nowhere/q.db"));
    }

    #[test]
    fn a_transport_option_is_a_word() {
        let address = Address::parse("sqlite:///q.db").unwrap();
        let read = |value: OptionValue| {
            FileOptions::read(&address, &DriverOptions::new(Clock::system()).option("synchronous", value))
        };
        assert_eq!(read("normal".into()).unwrap().synchronous, Synchronous::Normal);
        let error = read(["normal"].into()).unwrap_err().to_string();
        assert_eq!(error, "read the option synchronous of sqlite:///q.db: it is a list and must be a text");
    }
}
