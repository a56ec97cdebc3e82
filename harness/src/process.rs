//! Other processes: what the kernel reports of one (memory, processor time, and the processes that it started), and
//! signals.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

/// The memory of a process in megabytes. Shared pages are counted in proportion (PSS).
pub fn memory(pid: u32) -> io::Result<f64> {
    megabytes(pid, "Pss:")
}

/// What a process has written itself, in megabytes: its memory without the pages of its program, of which a larger
/// program has more in memory.
pub fn written_memory(pid: u32) -> io::Result<f64> {
    megabytes(pid, "Pss_Anon:")
}

/// A line of the kernel's sum over all mappings of a process.
fn megabytes(pid: u32, name: &str) -> io::Result<f64> {
    let text = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/smaps_rollup")))?;
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| io::Error::other("the kernel reports no PSS"))
}

/// The processor time that a process has used so far, user and system.
pub fn processor(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in brackets, which may contain anything.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        // The kernel reports in hundredths of a second.
        (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 10)),
        _ => Err(io::Error::other("the kernel reports no processor time")),
    }
}

/// How often the threads of a process have gone to sleep so far, and been woken. Threads that have ended do not count.
pub fn wakeups(pid: u32) -> io::Result<u64> {
    let mut count = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let switches = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
        count += switches.unwrap_or(0_u64);
    }
    Ok(count)
}

/// Sends a process a signal, named as for `kill -s`.
pub fn signal(pid: u32, name: &str) -> io::Result<()> {
    let sent = Command::new("sh").args(["-c", r#"kill -s "$0" -- "$1""#, name, &pid.to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(io::Error::other(format!("the process takes no {name}"))) }
}

/// A process and its running descendants.
pub fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        // A process may have ended meanwhile.
        found.extend(children(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("children"))?;
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_of_a_child_is_in_the_tree() {
        let mut shell = Command::new("sh");
        // A shell gives what it starts in the background nothing to read, unless it is told what.
        let mut shell = shell
            .args(["-c", "exec 3<&0; cat <&3 & wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while tree(shell.id()).unwrap().len() < 2 {
            assert!(std::time::Instant::now() < until, "{:?}", tree(shell.id()));
            std::thread::yield_now();
        }
        assert!(memory(shell.id()).unwrap() > 0.0);
        assert!(processor(std::process::id()).is_ok());
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
