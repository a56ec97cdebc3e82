//! The encryption of connections.

use apium_transport::error::{Error, ErrorKind, Result};
#[cfg(feature = "tls")]
use lapin::tcp::OwnedIdentity;
use lapin::tcp::OwnedTLSConfig;

use crate::options::target::Tls;

/// Reads the certificates of a target.
#[cfg(feature = "tls")]
pub(crate) fn config(tls: Option<&Tls>) -> Result<OwnedTLSConfig> {
    let Some(tls) = tls else { return Ok(OwnedTLSConfig::default()) };
    let read = |path: &std::path::Path, option: &str| {
        std::fs::read(path).map_err(|error| {
            let what = format!("read {}, which the option {option} names", path.display());
            Error::new(ErrorKind::Address, what).with_source(error)
        })
    };
    let chain = tls.roots.as_deref().map(|path| read(path, "ca_certs")).transpose()?;
    let chain = chain.map(|pem| String::from_utf8_lossy(&pem).into_owned());
    let identity = match &tls.identity {
        None => None,
        Some((certificate, key)) => {
            Some(OwnedIdentity::PKCS8 { pem: read(certificate, "certfile")?, key: read(key, "keyfile")? })
        }
    };
    Ok(OwnedTLSConfig { identity, cert_chain: chain })
}

/// Without the feature there is no encryption.
#[cfg(not(feature = "tls"))]
pub(crate) fn config(tls: Option<&Tls>) -> Result<OwnedTLSConfig> {
    match tls {
        None => Ok(OwnedTLSConfig::default()),
        Some(_) => Err(Error::new(
            ErrorKind::Address,
            "connect with TLS: this program was built without it; build Apium with the feature amqp-tls",
        )),
    }
}
