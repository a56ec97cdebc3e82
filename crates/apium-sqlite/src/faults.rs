//! Faults of the disk that tests cause (feature `crash-points`): it is full, it takes no flush, or the store takes
//! nothing large. They are read from a file beside the database, so that a test can cause them in other processes that
//! look for them. Without the feature, programs contain no trace of them.

#[cfg(feature = "crash-points")]
pub(crate) use with_feature::{ConnectionFaults, check_flush};
#[cfg(feature = "crash-points")]
pub use with_feature::{DiskFaults, look_for_them};

#[cfg(feature = "crash-points")]
mod with_feature {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::{fs, io};

    use rusqlite::Connection;
    use rusqlite::limits::Limit;

    /// What is wrong with the disk of a database.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct DiskFaults {
        /// It is full: the database gets no more pages than it has.
        pub full: bool,
        /// It takes no flush.
        pub flush_fails: bool,
        /// The most bytes of a message or a result; `None` is what SQLite takes.
        pub max_length: Option<u32>,
    }

    /// Whether this process looks for faults. Benches do not: a look is a system call for each transaction.
    static LOOKS: AtomicBool = AtomicBool::new(false);

    /// From now on this process looks for faults that other processes cause.
    pub fn look_for_them() {
        LOOKS.store(true, Ordering::Release);
    }

    fn beside(file: &Path) -> PathBuf {
        let mut name = file.to_owned().into_os_string();
        name.push("-faults");
        name.into()
    }

    impl DiskFaults {
        /// From now on these are the faults of the database `file`, in this process and in those that look for them.
        pub fn set(self, file: &Path) -> io::Result<()> {
            look_for_them();
            let path = beside(file);
            if self == Self::default() {
                return fs::remove_file(path);
            }
            let draft = path.with_extension("new-faults");
            let length = self.max_length.unwrap_or_default();
            fs::write(&draft, format!("{} {} {length}", u8::from(self.full), u8::from(self.flush_fails)))?;
            fs::rename(draft, path)
        }

        fn read(file: &Path) -> Self {
            if !LOOKS.load(Ordering::Acquire) {
                return Self::default();
            }
            let Ok(text) = fs::read_to_string(beside(file)) else { return Self::default() };
            let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0_u32));
            let mut next = || numbers.next().unwrap_or_default();
            Self { full: next() > 0, flush_fails: next() > 0, max_length: Some(next()).filter(|length| *length > 0) }
        }
    }

    /// The faults that a connection has.
    #[derive(Debug, Default)]
    pub(crate) struct ConnectionFaults(DiskFaults);

    impl ConnectionFaults {
        /// Gives the connection the faults of its file.
        pub(crate) fn update(&mut self, conn: &Connection, file: &Path) -> rusqlite::Result<()> {
            let faults = DiskFaults::read(file);
            if faults.full != self.0.full {
                // SQLite raises a limit below the size of the database to that size.
                let pages: u32 = if faults.full { 1 } else { u32::MAX - 1 };
                conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            }
            if faults.max_length != self.0.max_length {
                let length = faults.max_length.and_then(|length| i32::try_from(length).ok()).unwrap_or(1_000_000_000);
                conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
            }
            self.0 = faults;
            Ok(())
        }
    }

    /// Fails where the disk of the database is to take no flush.
    pub(crate) fn check_flush(file: &Path) -> io::Result<()> {
        match DiskFaults::read(file).flush_fails {
            true => Err(io::Error::other("the disk takes no flush, as the test wants it")),
            false => Ok(()),
        }
    }
}

/// Without the feature there are no faults.
#[cfg(not(feature = "crash-points"))]
#[derive(Debug, Default)]
pub(crate) struct ConnectionFaults {}

#[cfg(not(feature = "crash-points"))]
impl ConnectionFaults {
    pub(crate) fn update(&mut self, _: &rusqlite::Connection, _: &std::path::Path) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// Without the feature there are no faults.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn check_flush(_: &std::path::Path) -> std::io::Result<()> {
    Ok(())
}
