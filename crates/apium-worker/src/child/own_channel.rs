//! The child's end of its channel. It comes as standard input and is moved away from there, so that no code of a task
//! reads from it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

use crate::pool::process::frame::{FrameKind, VERSION, encode};
use crate::pool::process::messages::HelloHead;

/// The child's end of its channel, on which it has said that it runs.
#[derive(Debug)]
pub struct OwnChannel(pub(crate) UnixStream);

impl OwnChannel {
    /// Takes the channel of this process, and says that it runs. From now on this process ends with its worker.
    ///
    /// # Errors
    /// Standard input is no channel: nobody has started this process as a child.
    pub fn take() -> io::Result<Self> {
        let stdin = io::stdin();
        let input = File::from(rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?);
        if !input.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("standard input is no channel: only a worker starts a child"));
        }
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let stream = UnixStream::from(OwnedFd::from(input));
        end_with_worker(&stream)?;
        let hello = HelloHead { protocol: VERSION, pid: std::process::id() };
        (&stream).write_all(&encode(FrameKind::Hello, &hello, b"")?)?;
        Ok(Self(stream))
    }
}

/// Lets this process end when its worker does, however that happens and whatever runs here.
fn end_with_worker(stream: &UnixStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Where the system does not do it, and where the worker has only closed its end.
    let watched = stream.try_clone()?;
    let watch = move || loop {
        // No event is asked for: that the other end is closed is told in any case.
        let mut fds = [PollFd::new(&watched, PollFlags::empty())];
        if poll(&mut fds, None).is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            std::process::exit(0);
        }
    };
    std::thread::Builder::new().name("apium-worker-end".to_owned()).spawn(watch).map(drop)
}
