//! Encrypted connections (`rediss://`), with the feature `tls`.

use redis::{Client, ConnectionInfo, RedisResult};

use crate::options::target::Tls;

/// A client with the certificates of the options: those that it trusts, and its own.
#[cfg(feature = "tls")]
pub(crate) fn open(info: ConnectionInfo, tls: &Tls) -> RedisResult<Client> {
    use redis::{ClientTlsConfig, ErrorKind, RedisError, TlsCertificates};

    choose_cryptography();
    if tls.roots.is_none() && tls.identity.is_none() {
        return Client::open(info);
    }
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            let text = format!("could not read {}: {error}", path.display());
            RedisError::from((ErrorKind::InvalidClientConfig, "a file of the TLS options", text))
        })
    };
    let client_tls = match &tls.identity {
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
        None => None,
    };
    let root_cert = tls.roots.as_deref().map(read).transpose()?;
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
}

/// Rustls panics where a program links two providers of cryptography and chose none: that is common, since another
/// crate of the program may bring the second. The program's own choice goes first.
#[cfg(feature = "tls")]
fn choose_cryptography() {
    use rustls::crypto::{CryptoProvider, ring};

    if CryptoProvider::get_default().is_none() {
        // An error says that somebody else chose meanwhile, which is as good.
        let _ = ring::default_provider().install_default();
    }
}

/// Without the feature every encrypted address is refused.
#[cfg(not(feature = "tls"))]
pub(crate) fn open(_: ConnectionInfo, _: &Tls) -> RedisResult<Client> {
    Err((redis::ErrorKind::InvalidClientConfig, crate::options::target::NO_TLS).into())
}
