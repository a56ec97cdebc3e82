//! Certificates for servers and clients that speak TLS, made by the `openssl` program.

use std::path::PathBuf;
use std::process::Command;

use crate::directory;

/// How each key is made.
const NEW_KEY: [&str; 6] = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// The names that a server has, and that its certificate signs no others.
const NAMES: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// A folder with an authority `ca`, the certificates `server` and `client` that it has signed, and `other`, which is
/// self-signed: `NAME.crt` and `NAME.key`. `client.pem` has both of the client's. It is removed when this is dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them.
    #[expect(clippy::new_without_default, reason = "it writes files and starts processes")]
    #[track_caller]
    pub fn new() -> Self {
        let made = Self::make();
        made.unwrap_or_else(|error| panic!("could not make certificates with openssl: {error}"))
    }

    fn make() -> Result<Self, String> {
        let all = Self { folder: directory::private()? };
        for own in ["ca", "other"] {
            let (subject, key, certificate) = (format!("/CN={own}"), format!("{own}.key"), format!("{own}.crt"));
            all.openssl(&NEW_KEY, &["-x509", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &certificate])?;
        }
        all.write("names", NAMES)?;
        for name in ["server", "client"] {
            let [key, request, certificate] = ["key", "csr", "crt"].map(|end| format!("{name}.{end}"));
            all.openssl(&NEW_KEY, &["-subj", &format!("/CN={name}"), "-keyout", &key, "-out", &request])?;
            all.openssl(
                &["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
                &["-days", "30", "-extfile", "names", "-out", &certificate],
            )?;
        }
        let read = |file| std::fs::read_to_string(all.path(file)).map_err(|error| format!("read {file}: {error}"));
        all.write("client.pem", &(read("client.crt")? + &read("client.key")?))?;
        Ok(all)
    }

    fn openssl(&self, first: &[&str], others: &[&str]) -> Result<(), String> {
        let ended = Command::new("openssl").current_dir(&self.folder).args(first).args(others).output();
        let ended = ended.map_err(|error| format!("start it: {error}"))?;
        let printed = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() { Ok(()) } else { Err(format!("{first:?}: {printed}")) }
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.path(file), text).map_err(|error| format!("write {file}: {error}"))
    }

    /// Where a file is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The same as a text.
    pub fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // What stays is in the folder of the system for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
